"""Initial weights by number, loading without garbage, precision and placement."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

import hf_tfm
from hf_tfm.modeling.position import POSITIONS
from tests.grid import SIZES, TRUNKS, assert_same, ids, logits_of, make

WIDE = {**SIZES, "vocab_size": 500, "hidden_size": 128, "num_attention_heads": 8, "intermediate_size": 256}
LAYERS = SIZES["num_hidden_layers"]


def fresh(architecture, **words):
    config_class, model_class = TRUNKS[architecture]
    torch.manual_seed(0)
    return model_class(config_class(**{**WIDE, **words}))


def assert_std(weight, wanted, what):
    found = weight.std().item()
    assert abs(found - wanted) < 0.05 * wanted, f"{what}: standard deviation {found:.5f}, expected {wanted:.5f}"


@pytest.mark.parametrize("architecture", TRUNKS)
@pytest.mark.parametrize("mlp_type", ["plain", "gated", "moe"])
def test_every_leaf_starts_as_documented(architecture, mlp_type):
    model = fresh(architecture, mlp_type=mlp_type, initializer_range=0.03, qkv_bias=True, qk_norm="heads")
    for name, parameter in model.named_parameters():
        if "norm" in name or "residual" in name:
            assert torch.equal(parameter, (torch.zeros if name.endswith("bias") else torch.ones)(parameter.shape)), name
        elif name.endswith("bias"):
            assert not parameter.any(), f"{name} does not start at zero"
        elif parameter.numel() > 500:
            assert_std(parameter, 0.03, name)


@pytest.mark.parametrize(("architecture", "branches"), [("encoder", 2), ("decoder", 2), ("seq2seq", 3)])
@pytest.mark.parametrize("mlp_type", ["gated", "moe"])
def test_scaled_depth_shrinks_what_ends_a_branch(architecture, branches, mlp_type):
    model = fresh(architecture, depth_scaling="scaled", mlp_type=mlp_type)
    layer = (model.model.decoder if architecture == "seq2seq" else model.model).layers[-1]
    small = 0.02 / math.sqrt(branches * LAYERS)
    ends = layer.mlp.experts.down_proj if mlp_type == "moe" else layer.mlp.down_proj.weight
    assert_std(layer.self_attn.o_proj.weight, small, "o_proj")
    assert_std(ends, small, "down_proj")
    assert_std(layer.self_attn.q_proj.weight, 0.02, "q_proj")


def test_deepnorm_has_the_constants_of_its_paper():
    alone = fresh("decoder", depth_scaling="deepnorm", residual_type="post").model.layers[0]
    assert alone.mlp_residual.skip_weight == pytest.approx((2 * LAYERS) ** 0.25)
    xavier = math.sqrt(2 / 256)
    assert_std(alone.self_attn.q_proj.weight, xavier, "q_proj")
    assert_std(alone.self_attn.v_proj.weight, xavier * (8 * LAYERS) ** -0.25, "v_proj")
    pair = fresh("seq2seq", depth_scaling="deepnorm", residual_type="post", decoder_layers=5).model
    mixed = (LAYERS**4 * 5) ** (1 / 16)
    assert pair.encoder.layers[0].mlp_residual.skip_weight == pytest.approx(0.81 * mixed)
    assert pair.decoder.layers[0].cross_attn_residual.skip_weight == pytest.approx(15**0.25)
    assert_std(pair.encoder.layers[0].self_attn.o_proj.weight, xavier * 0.87 / mixed, "encoder's o_proj")
    assert_std(pair.decoder.layers[0].self_attn.o_proj.weight, xavier * 60**-0.25, "decoder's o_proj")


def test_one_seed_gives_one_model():
    one, two = fresh("decoder").state_dict(), fresh("decoder").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("architecture", TRUNKS)
def test_a_checkpoint_without_some_weights_leaves_no_garbage(architecture, tmp_path):
    model = make(architecture, position_type="rotary", attention_sinks=True, qk_norm="heads", mlp_type="moe")
    weights = {k: v for k, v in model.state_dict().items() if "layers.1" not in k and not k.startswith("lm_head")}
    model.save_pretrained(tmp_path, state_dict=weights)
    loaded = type(model).from_pretrained(tmp_path)
    for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()]:
        assert not tensor.is_meta, f"{name} was left without memory"
        assert tensor.isfinite().all(), f"{name} holds garbage"
        assert tensor.abs().max() < 20, f"{name} holds garbage: {tensor.abs().max()}"
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, loaded.get_buffer(name)), f"buffer {name} was not filled again"


def test_a_model_built_without_memory_can_be_materialised():
    config = hf_tfm.TfmDecoderConfig(**SIZES)
    with torch.device("meta"):
        empty = hf_tfm.TfmDecoderForCausalLM(config)
    empty.to_empty(device="cpu")
    empty.initialize_weights()
    wanted = make("decoder").model.position.rotary["shared"].inv_freq
    assert torch.equal(empty.model.position.rotary["shared"].inv_freq, wanted)


@pytest.mark.parametrize("architecture", TRUNKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_every_precision_loads_and_runs(architecture, dtype, tmp_path):
    model = make(architecture, mlp_type="gated", position_type="alibi", qk_norm="head")
    wanted = logits_of(model, ids(2, 7))
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)
    found = logits_of(loaded, ids(2, 7))
    assert found.dtype == dtype
    assert_same(found, wanted, {torch.bfloat16: 0.1, torch.float16: 0.02}.get(dtype, 1e-5), f"{dtype} logits")
    loss = loaded.train()(input_ids=ids(2, 7), labels=ids(2, 7)).loss
    loss.backward()
    assert all(p.grad.isfinite().all() for p in loaded.parameters())


@pytest.mark.parametrize("architecture", TRUNKS)
@pytest.mark.parametrize("word", POSITIONS)
def test_autocast_trains_in_bfloat16(architecture, word):
    model = make(architecture, position_type=word).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=ids(2, 7), labels=ids(2, 7)).loss
    loss.backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("architecture", TRUNKS)
def test_a_device_map_and_offloading_change_no_number(architecture, tmp_path):
    model = make(architecture, position_type="relative_bias", num_hidden_layers=2)
    wanted = logits_of(model, ids(2, 7))
    model.save_pretrained(tmp_path / "model")
    automatic = type(model).from_pretrained(tmp_path / "model", device_map="auto")
    assert_same(logits_of(automatic, ids(2, 7)), wanted, 1e-6, 'logits under device_map="auto"')
    offloaded = type(model).from_pretrained(
        tmp_path / "model",
        device_map="auto",
        max_memory={"cpu": sum(p.nbytes for p in model.parameters()) // 2},
        offload_folder=str(tmp_path / "offload"),
    )
    assert "disk" in offloaded.hf_device_map.values(), offloaded.hf_device_map
    assert_same(logits_of(offloaded, ids(2, 7)), wanted, 1e-6, "logits with layers on disk")


def test_a_model_loads_by_its_auto_class_without_its_name(tmp_path):
    make("decoder").save_pretrained(tmp_path)
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path)) is hf_tfm.TfmDecoderForCausalLM
