"""Long sequences: bounded memory in training, and decoding that equals the full forward pass. 4,096 tokens here, 32,768
with `pytest -m length` (minutes)."""

import subprocess

import pytest
import torch

from hf_tfm.benchmark.harness.memory_usage import GIB
from hf_tfm.benchmark.harness.plots import plot_length
from hf_tfm.benchmark.tools.length import measure_in_fresh_process, table
from hf_tfm.benchmark.tools.length_worker import LengthSettings, build_decoder

pytestmark = pytest.mark.xdist_group("length")

LONGEST = 32768
# tokens -> largest peak of the process, GiB; imports and model take 0.4
MAX_GIB = {4096: 0.75, LONGEST: 4.0}


def pytest_generate_tests(metafunc):
    """A test with the argument `length` runs with 4,096 tokens, and with -m length with 32,768."""
    if "length" in metafunc.fixturenames:
        is_long = metafunc.config.option.markexpr == "length"
        length = pytest.param(LONGEST, marks=pytest.mark.length) if is_long else 4096
        metafunc.parametrize("length", [length])


@pytest.mark.parametrize("attention", ["full", "sliding"])
def test_forward_and_backward_stay_within_memory(attention, length):
    measured = measure_in_fresh_process(LengthSettings(length=length, attention=attention))
    assert measured["finite"]
    assert measured["idle_bytes"] < measured["peak_bytes"] < MAX_GIB[length] * GIB, measured


@pytest.mark.parametrize("attention", ["full", "sliding"])
@torch.no_grad()
def test_decoding_after_a_long_prefill_equals_the_full_forward(attention, length):
    model = build_decoder(LengthSettings(length=length, attention=attention)).eval()
    ids = torch.randint(model.config.vocab_size, (1, length))
    full = model(ids, use_cache=False, logits_to_keep=1).logits
    prefill = model(ids[:, :-1], use_cache=True, logits_to_keep=1)
    step = model(ids[:, -1:], past_key_values=prefill.past_key_values, use_cache=True).logits
    assert (step - full).abs().max() < 1e-4


@pytest.mark.parametrize(("status", "message"), [(1, "no such kernel"), (-9, "for memory")])
def test_failed_process_says_why(status, message, monkeypatch):
    done = subprocess.CompletedProcess([], status, stdout="", stderr="no such kernel")
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: done)
    with pytest.raises(ChildProcessError, match=message):
        measure_in_fresh_process(LengthSettings())


def test_table_and_plot_show_every_point(tmp_path):
    measured = {"seconds": 1.5, "idle_bytes": GIB // 2, "peak_bytes": GIB}
    kinds, lengths = ("full", "sliding"), (512, 1024)
    points = [{"attention": kind, "length": length, **measured} for kind in kinds for length in lengths]
    assert "| full | 1,024 | 1.00 | 0.50 | 1.5 |" in table({"points": points})
    plot_length({"points": points}, tmp_path / "length.png")
    assert (tmp_path / "length.png").stat().st_size > 1000
