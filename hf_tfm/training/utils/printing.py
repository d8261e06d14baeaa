"""Printing from one process of several."""

from accelerate import PartialState

__all__ = ["print_on_main_process"]


def print_on_main_process(text: str) -> None:
    """A line on the screen, from the main process alone."""
    if PartialState().is_main_process:
        print(text)
