"""Growth of resident memory."""

import sys

import pytest
import torch

from hf_tfm.benchmark.harness.memory_usage import peak_growth, peak_resident_bytes, start_peak_growth


def test_peak_growth_counts_memory_that_is_freed_again():
    start = start_peak_growth()
    held = torch.ones(2**24)
    del held
    assert peak_growth(start) >= 2**26 * 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can reset the peak of a process")
def test_earlier_peaks_do_not_count():
    held = torch.ones(2**24)
    peak = peak_resident_bytes()
    del held
    assert start_peak_growth() <= peak_resident_bytes() < peak
