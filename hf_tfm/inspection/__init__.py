"""See inside a model: attention, residual stream, attribution, interventions and costs, as arrays and as one page.

Public names are imported on first use. The model is never changed: hooks, modes and settings end with each call.
"""

import importlib
from typing import Any

# public name -> module
MODULES = {
    "NotebookPage": "notebook",
    "Recording": "recording",
    "attribution": "logit_attribution",
    "costs": "model_costs",
    "head_summary": "head_scores",
    "integrated_gradients": "input_attribution",
    "knock_out": "interventions",
    "knock_out_grid": "knock_outs",
    "load_for_inspection": "loading",
    "logit_lens": "lens",
    "make_report": "inspect_model",
    "patch": "interventions",
    "patch_grid": "patching",
    "position_schemes": "positions",
    "record": "recording",
    "show": "notebook",
    "stream_growth": "stream",
    "write_json": "files",
    "write_npz": "files",
    "write_page": "page",
    "write_pictures": "files",
}

__all__ = list(MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """The functions."""
    if name in MODULES:
        return getattr(importlib.import_module(f".{MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
