"""Shared set-up: offline, quiet, one thread per process, and the grid as test parameters."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# processes that tests start inherit it: two pytest workers with two threads each slow each other down on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from collections.abc import Iterator

import pytest
import torch
from transformers.utils import logging

from tests.grid import AXES, LANGUAGE_MODELS, full_grid, pairwise, row_id

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """A function that a test calls leaves the settings that other tests share as they were."""
    before = logging.get_verbosity(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    yield
    after = logging.get_verbosity(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    assert after == before, "(verbosity of transformers, default dtype, gradients, threads) changed"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the arguments (architecture, row) runs on the pairwise sample, or on the full grid with -m grid."""
    if {"architecture", "row"} <= set(metafunc.fixturenames):
        architectures = getattr(metafunc.function, "architectures", tuple(LANGUAGE_MODELS))
        use_full_grid = metafunc.config.option.markexpr == "grid"
        marks = [pytest.mark.grid] if use_full_grid else []
        rows = full_grid(AXES) if use_full_grid else pairwise(AXES)
        metafunc.parametrize(
            ("architecture", "row"),
            [
                pytest.param(architecture, row, id=f"{architecture}-{row_id(row)}", marks=marks)
                for architecture in architectures
                for row in rows
            ],
        )
