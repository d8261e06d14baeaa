"""The page in a cell of a notebook."""

import html
from typing import Any

from .inspect_model import make_report
from .page import render_page
from .report import Report

__all__ = ["NotebookPage", "show"]


class NotebookPage:
    """A report that a notebook displays as its page, in a frame that has no access to the notebook and needs no
    network. `height`: of the frame, in pixels."""

    def __init__(self, report: Report, height: int = 900) -> None:
        self.report = report
        self.height = height

    def _repr_html_(self) -> str:
        # allow-scripts alone: the page's script runs, in an origin of its own
        title, page = (html.escape(text) for text in (f"Inside {self.report.title}", render_page(self.report)))
        return (
            f'<iframe sandbox="allow-scripts" width="100%" height="{self.height}" style="border: 0" '
            f'title="{title}" srcdoc="{page}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"NotebookPage({self.report.model!r})"


def show(model: Any, tokenizer: Any, text: str | tuple[str, str], height: int = 900, **options: Any) -> None:
    """Inspects a model on a text and displays the page in the cell. `options`: see `make_report`. Raises ImportError
    outside IPython."""
    from IPython.display import display  # pyright: ignore[reportMissingImports]

    display(NotebookPage(make_report(model, tokenizer, text, **options), height))
