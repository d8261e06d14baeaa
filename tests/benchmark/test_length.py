"""Long rows: bounded memory in training, and decoding that equals the full forward. A few thousand tokens here, 32,768
with `pytest -m length` (minutes)."""

import subprocess

import pytest
import torch

from hf_tfm.benchmark.length import run_point, table
from hf_tfm.benchmark.length_point import Point, decoder
from hf_tfm.benchmark.pictures import GIB, draw_length

pytestmark = pytest.mark.xdist_group("length")

LONGEST = 32768
# tokens -> GiB that a process may hold at its peak: 0.4 with imports and model alone
MOST_GIB = {4096: 0.75, LONGEST: 4.0}


def pytest_generate_tests(metafunc):
    """A test with the argument `length` takes a short row, and under -m length the longest."""
    if "length" in metafunc.fixturenames:
        whole = metafunc.config.option.markexpr == "length"
        chosen = pytest.param(LONGEST, marks=pytest.mark.length) if whole else 4096
        metafunc.parametrize("length", [chosen])


@pytest.mark.parametrize("attention", ["full", "sliding"])
def test_forward_and_backward_stay_within_memory(attention, length):
    measured = run_point(Point(length=length, attention=attention))
    assert measured["finite"]
    assert measured["idle_bytes"] < measured["peak_bytes"] < MOST_GIB[length] * GIB, measured


@pytest.mark.parametrize("attention", ["full", "sliding"])
@torch.no_grad()
def test_one_step_after_a_long_prefill_equals_the_full_forward(attention, length):
    model = decoder(Point(length=length, attention=attention)).eval()
    row = torch.randint(model.config.vocab_size, (1, length))
    whole = model(row, use_cache=False, logits_to_keep=1).logits
    prefill = model(row[:, :-1], use_cache=True, logits_to_keep=1)
    step = model(row[:, -1:], past_key_values=prefill.past_key_values, use_cache=True).logits
    assert (step - whole).abs().max() < 1e-4


@pytest.mark.parametrize(("status", "said"), [(1, "no such kernel"), (-9, "for memory")])
def test_a_failing_point_says_why(status, said, monkeypatch):
    done = subprocess.CompletedProcess([], status, stdout="", stderr="no such kernel")
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: done)
    with pytest.raises(RuntimeError, match=said):
        run_point(Point())


def test_table_and_picture_tell_every_point(tmp_path):
    measured = {"seconds": 1.5, "idle_bytes": GIB // 2, "peak_bytes": GIB}
    kinds, lengths = ("full", "sliding"), (512, 1024)
    points = [{"attention": kind, "length": length, **measured} for kind in kinds for length in lengths]
    assert "| full | 1,024 | 1.00 | 0.50 | 1.5 |" in table({"points": points})
    draw_length({"points": points}, tmp_path / "length.png")
    assert (tmp_path / "length.png").stat().st_size > 1000
