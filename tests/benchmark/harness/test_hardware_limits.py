"""Measured limits of the machine."""

import torch

from hf_tfm.benchmark.harness.hardware_limits import gemm_flops_per_second, read_bytes_per_second


def test_hardware_limits_are_positive():
    for dtype in (torch.float32, torch.bfloat16):
        assert gemm_flops_per_second(16, dtype, rows=32, seconds=0.001) > 0
    assert read_bytes_per_second(size=2**16, seconds=0.001) > 0
