"""Shared set-up: offline, quiet, two threads at most, and the grid as test parameters."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest
import torch

from tests.grid import AXES, TRUNKS, name_of, pairwise, whole

torch.set_num_threads(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the arguments (architecture, row) runs on the pairwise sample, and under -m grid on all of it."""
    if {"architecture", "row"} <= set(metafunc.fixturenames):
        architectures = getattr(metafunc.function, "architectures", tuple(TRUNKS))
        sample, rest = pairwise(AXES), whole(AXES)
        rows = [(row, ()) for row in sample] + [(row, (pytest.mark.grid,)) for row in rest if row not in sample]
        metafunc.parametrize(
            ("architecture", "row"),
            [
                pytest.param(architecture, row, id=f"{architecture}-{name_of(row)}", marks=marks)
                for architecture in architectures
                for row, marks in rows
            ],
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "grid" not in (config.option.markexpr or ""):
        keep = [item for item in items if not item.get_closest_marker("grid")]
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("grid")])
        items[:] = keep
