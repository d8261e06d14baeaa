"""The page in a cell of a notebook, and that one inspection gives one page."""

import sys
from types import ModuleType

from hf_tfm.inspection import make_report, notebook
from hf_tfm.inspection.page import render_page
from tests.grid import make

from .synthetic_reports import hostile_report
from .tiny import TEXT, make_tokenizer

QUICK = {"knockout": "top:1", "gradient_steps": 4}


def test_a_frame_holds_the_page_and_nothing_else():
    text = notebook.NotebookPage(hostile_report())._repr_html_()
    assert text.count("<") == 2
    assert 'sandbox="allow-scripts"' in text


def test_show_displays_the_page_in_a_cell(monkeypatch):
    shown = []
    display = ModuleType("IPython.display")
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook.show(make("decoder", num_hidden_layers=2), make_tokenizer(), TEXT, height=500, **QUICK)
    assert 'height="500"' in shown[0]._repr_html_()


def test_two_inspections_give_the_same_page():
    model, tokenizer = make("decoder", num_hidden_layers=2), make_tokenizer()
    assert len({render_page(make_report(model, tokenizer, TEXT, **QUICK)) for _ in range(2)}) == 1
