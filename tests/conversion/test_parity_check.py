"""The comparison of outputs that ends every conversion: it finds what is wrong, and nothing else."""

import dataclasses
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.convert import convert_to_native, convert_to_ours
from hf_tfm.conversion.families.llama import ATTENTION, EMBEDDING, GATED_MLP, norm_rules
from hf_tfm.conversion.registry import FAMILIES
from tests.conversion.families.cases import CASES
from tests.conversion.tiny import SIZES, randomise, tiny_native


def make_llama(**fields: Any) -> Any:
    return randomise(LlamaForCausalLM(LlamaConfig(**SIZES, **fields)))


@pytest.fixture
def faulty_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Llama family that takes the gate of the feed-forward for its other branch."""
    gate, up, down = GATED_MLP
    faulty = [rule._replace(ours=other.ours) for rule, other in ((gate, up), (up, gate))]
    weights = (EMBEDDING, *norm_rules(), *ATTENTION, *faulty, down)
    monkeypatch.setitem(FAMILIES, "llama", dataclasses.replace(FAMILIES["llama"], base_weights=weights))


@pytest.mark.usefixtures("faulty_family")
def test_wrong_numbers_are_refused_in_both_directions() -> None:
    native = make_llama()
    with pytest.raises(ConversionError, match="differ by"):
        from_native(native)
    ours = from_native(native, verify=False)
    with pytest.raises(ConversionError, match="differ by"):
        to_native(ours)
    back = to_native(ours, verify=False)
    assert all(torch.equal(a, b) for a, b in zip(native.parameters(), back.parameters(), strict=True))


def test_a_check_leaves_no_traces() -> None:
    native = make_llama().bfloat16().train()
    native.model.layers[1].eval()
    modes = [module.training for module in native.modules()]
    tensors = {
        name: (id(tensor), tensor.dtype) for name, tensor in [*native.named_buffers(), *native.named_parameters()]
    }
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ours = from_native(native)
    to_native(ours)
    assert torch.equal(torch.rand(2), expected)
    assert [module.training for module in native.modules()] == modes
    after = [*native.named_buffers(), *native.named_parameters()]
    assert {name: (id(tensor), tensor.dtype) for name, tensor in after} == tensors
    assert not any(parameter.grad is not None for parameter in native.parameters())


def make_mixtral() -> Any:
    """Routers that two roundings of half precision would send elsewhere."""
    sizes = SIZES | {"num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 64, "num_key_value_heads": 2}
    torch.manual_seed(0)
    native = MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=8))
    for parameter in native.parameters():
        if parameter.dim() == 1:
            parameter.data.mul_(0.3 + torch.rand(parameter.shape))
    return native


# xglm, m2m_100: tables of sinusoids; gptj: tables inside attention modules
@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("mixtral", torch.float16), ("mixtral", torch.bfloat16), ("llama", torch.float16), ("qwen3", torch.bfloat16),
        ("gptj", torch.float16), ("xglm", torch.float16), ("m2m_100", torch.bfloat16),
    ],
)  # fmt: skip
def test_half_precision_is_compared_in_float32(family: str, dtype: torch.dtype) -> None:
    native = make_mixtral() if family == "mixtral" else tiny_native(family, CASES[family][0], "base")
    ours, difference = convert_to_ours(native.to(dtype), copy_weights=True)
    back, back_difference = convert_to_native(ours, None, copy_weights=True)
    assert max(difference, back_difference) <= 1e-5
    assert ours.dtype == back.dtype == dtype
    assert all(torch.equal(a, b) for a, b in zip(native.parameters(), back.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_tables_that_were_once_in_half_precision_are_tables_still(dtype: torch.dtype) -> None:
    native = tiny_native("marian", CASES["marian"][0], "seq2seq-lm").half().to(dtype)
    ours = from_native(native)
    to_native(ours)
    native.model.encoder.embed_positions.weight.data.add_(0.01)
    with pytest.raises(ConversionError, match="this table has other values"):
        from_native(native)


def test_weights_that_are_not_in_memory_are_refused() -> None:
    with torch.device("meta"):
        native = LlamaForCausalLM(LlamaConfig(**SIZES))
    with pytest.raises(ConversionError, match=r"offloaded or on the meta device, such as model\.embed_tokens\.weight"):
        from_native(native)


# 2: also the end of a sequence
@pytest.mark.parametrize("pad_token_id", [None, 2, 3])
def test_classifiers_without_a_padding_id_of_their_own_are_compared(pad_token_id: int | None) -> None:
    native = tiny_native("llama", CASES["llama"][0], "sequence-classification")
    native.config.pad_token_id = pad_token_id
    _, difference = convert_to_ours(native, copy_weights=True)
    assert difference <= 1e-5
