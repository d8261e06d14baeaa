"""accelerate's offloading: weights that are brought for each module's forward, from memory or from disk."""

from functools import partial

import pytest

pytest.importorskip("accelerate")

row = partial(pytest.mark.compatibility, tool="accelerate")


@pytest.mark.ecosystem
@row(what="cpu_offload, disk_offload and device_map with weights on disk, every head, padded batches")
def test_heads(outcomes):
    for mode, differences in outcomes.ours().items():
        assert set(differences) >= set(outcomes["native"])
        wrong = {name: difference for name, difference in differences.items() if not difference <= 1e-6}
        assert not wrong, (mode, wrong)


@pytest.mark.ecosystem
@row(what="generate with disk_offload")
def test_generate(outcomes):
    for tokens in outcomes.ours().values():
        assert all(in_memory == on_disk for in_memory, on_disk in tokens.values())
