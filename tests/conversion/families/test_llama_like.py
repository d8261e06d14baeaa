"""Llama-like decoders: refused values, experts through files, and one model as several families."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_tfm.conversion import ConversionError, from_native, to_native
from tests.conversion.families.cases import CASES
from tests.conversion.families.cases_llama_like import FULL, LM, SLIDING
from tests.conversion.tiny import Case, padded_batch, tiny_native

HEAD = LM[0]


def logits(model: Any) -> torch.Tensor:
    model.set_attn_implementation("eager")
    batch = padded_batch(model.config)
    with torch.no_grad():
        return model(**batch).logits[batch["attention_mask"].bool()]


@pytest.mark.parametrize(
    ("family", "fields", "named"),
    [
        ("olmoe", {"clip_qkv": 1.0}, "clip_qkv=1.0"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("granite_swa", {"layer_rope_theta": [500.0, 0, 100.0, 0, 0]}, "layer_rope_theta"),
        ("granitemoeshared", {"shared_intermediate_size": 16}, "shared_intermediate_size=16"),
        ("mellum", {"num_mtp_layers": 1}, "num_mtp_layers=1"),
    ],
)
def test_unsupported_values_are_refused_by_name(family: str, fields: dict[str, Any], named: str) -> None:
    case = CASES[family][0]
    native = tiny_native(family, Case({**case.fields, **fields}), HEAD)
    with pytest.raises(ConversionError, match=named):
        from_native(native)


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe", "granitemoe"])
def test_experts_survive_files_with_other_names(family: str, tmp_path: Path) -> None:
    native = tiny_native(family, CASES[family][1], HEAD)
    native.save_pretrained(tmp_path / "native")
    ours = from_native(str(tmp_path / "native"))
    to_native(ours).save_pretrained(tmp_path / "back")
    back = type(native).from_pretrained(tmp_path / "back")
    torch.testing.assert_close(logits(ours), logits(native), rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(back), logits(native), rtol=0, atol=1e-5)


def test_a_llama_converts_to_its_relatives_and_to_no_other_family() -> None:
    """Phi-3 writes into the rotary parameters it is given, and must not write into ours."""
    native = tiny_native("llama", CASES["llama"][0], HEAD)
    ours = from_native(native)
    config_before = copy.deepcopy(ours.config.to_dict())
    for family in ("phi3", "mistral", "ministral", "granite", "helium", "glm", "ernie4_5", "smollm3", "seed_oss"):
        torch.testing.assert_close(logits(to_native(ours, family)), logits(native), rtol=0, atol=1e-5)
    for family, reason in (("qwen3", "qk_norm"), ("gemma", "embedding_scale"), ("olmo3", "residual_type")):
        with pytest.raises(ConversionError, match=reason):
            to_native(ours, family)
    assert ours.config.to_dict() == config_before


def test_rotary_parameters_by_layer_type_are_refused_by_a_family_with_one_set() -> None:
    fields = CASES["olmo3"][1].fields | {
        "rope_parameters": {
            FULL: {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
            SLIDING: {"rope_type": "default", "rope_theta": 100.0},
        }
    }
    ours = from_native(tiny_native("olmo3", Case(fields), HEAD))
    with pytest.raises(ConversionError, match="by layer type"):
        to_native(ours, "ministral")
