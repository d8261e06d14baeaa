"""Printing in distributed runs."""

from accelerate import PartialState

__all__ = ["print_on_main_process"]


def print_on_main_process(text: str) -> None:
    """Print a line in the main process, and nothing in the others."""
    if PartialState().is_main_process:
        print(text)
