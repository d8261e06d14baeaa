"""Shared set-up: offline, quiet, one thread per process, and the grid as test parameters."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# for processes that tests start too: two workers with two threads each stall one another
os.environ.setdefault("OMP_NUM_THREADS", "1")
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
        everything = metafunc.config.option.markexpr == "grid"
        marks = [pytest.mark.grid] if everything else []
        rows = whole(AXES) if everything else pairwise(AXES)
        metafunc.parametrize(
            ("architecture", "row"),
            [
                pytest.param(architecture, row, id=f"{architecture}-{name_of(row)}", marks=marks)
                for architecture in architectures
                for row in rows
            ],
        )
