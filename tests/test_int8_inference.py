"""Linear maps computed with 8-bit integers: close to float32 row by row, and unchanged where they step aside."""

import copy
import pickle

import pytest
import torch
from torch import nn

from hf_tfm.cpu_inference import FBGEMM, Int8Linear, use_int8, use_onednn
from tests.grid import ids, make

pytestmark = pytest.mark.skipif(FBGEMM not in torch.backends.quantized.supported_engines, reason="needs x86")


def int8_maps(model):
    return [name for name, part in model.named_modules() if isinstance(part, Int8Linear)]


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_every_row_and_every_output_keeps_its_own_digits(bias):
    """Rows and outputs of very different sizes: with one scale for all, the small ones would be zeros."""
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias)
    linear.weight.mul_(torch.logspace(-4, 4, 48)[:, None])
    states = torch.randn(3, 7, 64) * torch.logspace(-6, 6, 21).view(3, 7, 1)
    states[0, 0] = 0
    wanted = linear(states)
    found = use_int8(nn.Sequential(linear))(states)
    scale = states.norm(dim=-1, keepdim=True) * linear.weight.norm(dim=1)
    assert ((found - wanted).abs() / scale.clamp_min(1e-30)).max() <= 0.03
    assert torch.equal(found[0, 0], wanted[0, 0])


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
@torch.no_grad()
def test_models_are_close_and_save_the_same_weights(architecture, tmp_path):
    model = make(architecture)
    before = copy.deepcopy(model)
    assert use_int8(model) is model
    inputs = {"decoder_input_ids": ids(2, 5)} if architecture == "seq2seq" else {}
    wanted, found = (one(ids(2, 7), **inputs).logits.flatten(0, 1) for one in (before, model))
    assert torch.cosine_similarity(found, wanted).min() >= 0.995
    assert not torch.equal(found, wanted)
    assert "lm_head" not in int8_maps(model)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert not int8_maps(again)
    assert all(torch.equal(again.get_parameter(name), weight) for name, weight in before.named_parameters())


def test_training_and_autocast_are_unchanged():
    before = make("decoder")
    model = use_int8(copy.deepcopy(before))
    losses = [one(ids(2, 7), labels=ids(2, 7)).loss for one in (before, model)]
    assert torch.equal(*losses)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(ids(2, 7)).logits, before(ids(2, 7)).logits)


@torch.no_grad()
def test_copies_compute_alike_and_changed_weights_are_packed_again():
    model = use_int8(make("encoder"))
    wanted = model(ids(2, 7)).logits
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert int8_maps(other) == int8_maps(model)
        assert torch.equal(other(ids(2, 7)).logits, wanted)
    other.load_state_dict({name: 2 * weight for name, weight in model.state_dict().items()})
    fresh = make("encoder")
    fresh.load_state_dict(other.state_dict())
    assert torch.equal(other(ids(2, 7)).logits, use_int8(fresh)(ids(2, 7)).logits)


def test_what_has_no_integer_products_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"float32 weights on a CPU, not torch\.bfloat16 on cpu"):
        use_int8(make("encoder").bfloat16())
    with pytest.raises(ValueError, match="finds no plain linear map"):
        use_int8(use_onednn(make("encoder")))
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"])
    with pytest.raises(ValueError, match="needs an x86 processor"):
        use_int8(make("encoder"))
