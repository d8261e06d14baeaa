"""What a person sees of a run: one line that moves (steps, time left, tokens per second, loss) and one line for each
evaluation."""

from accelerate import PartialState

__all__ = ["say"]


def say(text: str) -> None:
    """A line on the screen, from the main process alone."""
    if PartialState().is_main_process:
        print(text)
