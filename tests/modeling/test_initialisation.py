"""Initial weights, checkpoints with missing weights, dtypes, devices and offloading."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.activations import ACT2FN

import hf_tfm
from hf_tfm.modeling.position import POSITIONS
from tests.grid import LANGUAGE_MODELS, SIZES, assert_same, ids, logits_of, make

WIDE = {**SIZES, "vocab_size": 500, "hidden_size": 128, "num_attention_heads": 8, "intermediate_size": 256}
LAYERS = SIZES["num_hidden_layers"]


def make_untrained(architecture, **fields):
    """A model with the initial weights of its class, wide enough to measure standard deviations."""
    config_class, model_class = LANGUAGE_MODELS[architecture]
    torch.manual_seed(0)
    return model_class(config_class(**{**WIDE, **fields}))


def assert_std(weight, wanted, what):
    found = weight.std().item()
    assert abs(found - wanted) < 0.05 * wanted, f"{what}: standard deviation {found:.5f}, expected {wanted:.5f}"


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("mlp_type", ["plain", "gated", "moe"])
def test_each_parameter_starts_with_its_documented_distribution(architecture, mlp_type):
    model = make_untrained(architecture, mlp_type=mlp_type, initializer_range=0.03, qkv_bias=True, qk_norm="heads")
    for name, parameter in model.named_parameters():
        if "norm" in name or "residual" in name:
            assert torch.equal(parameter, (torch.zeros if name.endswith("bias") else torch.ones)(parameter.shape)), name
        elif name.endswith("bias"):
            assert not parameter.any(), f"{name} does not start at zero"
        elif parameter.numel() > 500:
            assert_std(parameter, 0.03, name)


@pytest.mark.parametrize(("architecture", "branches"), [("encoder", 2), ("decoder", 2), ("seq2seq", 3)])
@pytest.mark.parametrize("mlp_type", ["gated", "moe"])
def test_scaled_depth_shrinks_output_projections_of_branches(architecture, branches, mlp_type):
    model = make_untrained(architecture, depth_scaling="scaled", mlp_type=mlp_type)
    layer = (model.model.decoder if architecture == "seq2seq" else model.model).layers[-1]
    small = 0.02 / math.sqrt(branches * LAYERS)
    down_proj = layer.mlp.experts.down_proj if mlp_type == "moe" else layer.mlp.down_proj.weight
    assert_std(layer.self_attn.o_proj.weight, small, "o_proj")
    assert_std(down_proj, small, "down_proj")
    assert_std(layer.self_attn.q_proj.weight, 0.02, "q_proj")


def test_deepnorm_has_the_constants_of_its_paper():
    decoder = make_untrained("decoder", depth_scaling="deepnorm", residual_type="post").model.layers[0]
    assert decoder.mlp_residual.skip_weight == pytest.approx((2 * LAYERS) ** 0.25)
    xavier = math.sqrt(2 / 256)
    assert_std(decoder.self_attn.q_proj.weight, xavier, "q_proj")
    assert_std(decoder.self_attn.v_proj.weight, xavier * (8 * LAYERS) ** -0.25, "v_proj")
    pair = make_untrained("seq2seq", depth_scaling="deepnorm", residual_type="post", decoder_layers=5).model
    mixed = (LAYERS**4 * 5) ** (1 / 16)
    assert pair.encoder.layers[0].mlp_residual.skip_weight == pytest.approx(0.81 * mixed)
    assert pair.decoder.layers[0].cross_attn_residual.skip_weight == pytest.approx(15**0.25)
    assert_std(pair.encoder.layers[0].self_attn.o_proj.weight, xavier * 0.87 / mixed, "encoder's o_proj")
    assert_std(pair.decoder.layers[0].self_attn.o_proj.weight, xavier * 60**-0.25, "decoder's o_proj")


def test_same_seed_gives_the_same_model():
    one, two = make_untrained("decoder").state_dict(), make_untrained("decoder").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_weights_missing_in_a_checkpoint_are_initialised(architecture, tmp_path):
    model = make(architecture, position_type="rotary", attention_sinks=True, qk_norm="heads", mlp_type="moe")
    weights = {k: v for k, v in model.state_dict().items() if "layers.1" not in k and not k.startswith("lm_head")}
    model.save_pretrained(tmp_path, state_dict=weights)
    loaded = type(model).from_pretrained(tmp_path)
    for name, tensor in [*loaded.named_parameters(), *loaded.named_buffers()]:
        assert not tensor.is_meta, f"{name} is still on the meta device"
        assert tensor.isfinite().all(), f"{name} is not finite"
        assert tensor.abs().max() < 20, f"{name} is not initialised: its largest value is {tensor.abs().max()}"
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, loaded.get_buffer(name)), f"buffer {name} was not computed again"


def test_model_on_meta_device_can_be_materialised():
    config = hf_tfm.TfmDecoderConfig(**SIZES)
    with torch.device("meta"):
        model = hf_tfm.TfmDecoderForCausalLM(config)
    model.to_empty(device="cpu")
    model.initialize_weights()
    wanted = make("decoder").model.position.rotary["shared"].inv_freq
    assert torch.equal(model.model.position.rotary["shared"].inv_freq, wanted)


def tensors_of_activations(model):
    return {
        f"{name}.{part}": tensor
        for name, module in model.named_modules()
        if name.endswith("act_fn")
        for part, tensor in [*module.named_parameters(), *module.named_buffers()]
    }


@pytest.mark.parametrize("act", ACT2FN)
def test_activations_start_as_their_constructor_makes_them(act, tmp_path):
    # xielu, whose weights nothing initialised, was refused by a TypeError without a field
    fields = {"hidden_act": act, "lm_head_act": act, "lm_head_type": "transform", "num_hidden_layers": 1}
    model = make_untrained("encoder", **fields)
    found, constructed = tensors_of_activations(model), ACT2FN[act]
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32, f"{name} has another dtype than after loading"
        assert torch.equal(tensor, constructed.state_dict()[name.rpartition(".")[2]].float()), name
    with torch.device("meta"):
        on_meta = type(model)(model.config)
    on_meta.to_empty(device="cpu").initialize_weights()
    models = [on_meta]
    if found:
        weights = {name: weight for name, weight in model.state_dict().items() if name not in found}
        model.save_pretrained(tmp_path, state_dict=weights)
        models.append(type(model).from_pretrained(tmp_path))
    for other in models:
        assert found.keys() == tensors_of_activations(other).keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in tensors_of_activations(other).items())


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_each_dtype_loads_and_trains(architecture, dtype, tmp_path):
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


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("position", POSITIONS)
def test_autocast_trains_in_bfloat16(architecture, position):
    model = make(architecture, position_type=position).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=ids(2, 7), labels=ids(2, 7)).loss
    loss.backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_device_map_and_offloading_give_the_same_logits(architecture, tmp_path):
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


def test_auto_class_loads_the_saved_class(tmp_path):
    make("decoder").save_pretrained(tmp_path)
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path)) is hf_tfm.TfmDecoderForCausalLM
