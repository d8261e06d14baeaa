"""DeepSpeed's ZeRO through Trainer, in one process on the CPU."""

import pytest

pytest.importorskip("deepspeed")


@pytest.mark.ecosystem
@pytest.mark.compatibility(tool="deepspeed", what="Trainer with ZeRO 2 and 3, one process on the CPU, saved and loaded")
def test_zero(outcomes):
    for found in outcomes.ours().values():
        for stage in ("stage 2", "stage 3"):
            assert found[stage]["losses"] == pytest.approx(found["without"]["losses"], rel=1e-4)
            assert found[stage]["saved"] == pytest.approx(found["without"]["saved"], rel=1e-3)
