"""Width scaling: at the base width the standard model, elsewhere factors that keep activations and steps alike."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

import hf_tfm
from hf_tfm.modeling.width_scaling import learning_rate_factors
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.optimizers import make_optimizer
from tests.grid import LANGUAGE_MODELS, SIZES, ids, logits_of
from tests.modeling.remote_code.checkpoints import HEADS

BASE = SIZES["hidden_size"]


def make_untrained(architecture, head=None, **fields):
    """A model with its initial weights."""
    config_class, model_class = LANGUAGE_MODELS[architecture]
    torch.manual_seed(0)
    return (head or model_class)(config_class(**{**SIZES, **fields})).eval()


def mup(base_width=BASE, **fields):
    return {"width_scaling": "mup", "mup_base_width": base_width, **fields}


def optimizer_of(model, name, rate=0.01, muon_rate=0.02):
    rates = {"learning_rate": rate, "muon_learning_rate": muon_rate, "weight_decay": 0.1}
    return make_optimizer(model, TfmTrainingArguments(use_cpu=True, optimizer=name, **rates))


def rates(model, optimizer):
    """Parameter name -> learning rate and weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizer_of(model, optimizer).param_groups
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("fields", [{}, {"mlp_type": "moe", "attention_scale": 0.3}], ids=["plain", "experts"])
def test_at_the_base_width_everything_is_standard(architecture, fields):
    standard, scaled = make_untrained(architecture, **fields), make_untrained(architecture, **fields, **mup())
    weights = scaled.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in standard.state_dict().items())
    assert torch.equal(logits_of(scaled, ids(2, 7)), logits_of(standard, ids(2, 7)))
    for optimizer in ("adamw", "muon"):
        assert rates(scaled, optimizer) == rates(standard, optimizer)


def test_factors_follow_the_table_of_the_paper():
    fields = {"mlp_type": "moe", "shared_expert_intermediate_size": 24, "qkv_bias": True, "depth_scaling": "scaled"}
    fields |= {"hidden_size": 512, "intermediate_size": 512}
    model = make_untrained("decoder", **fields, **mup(128, mup_base_head_dim=32))
    layer = model.model.layers[0]
    assert layer.self_attn.scaling == 32**-0.5 * 32 / 128
    assert model.scale_states.factor == 1 / 4
    factors, adamw, muon = model.learning_rate_factors(), rates(model, "adamw"), rates(model, "muon")
    readouts = {f"model.layers.{i}.mlp.{name}.weight" for i in range(3) for name in ("gate", "shared_expert.gate")}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1 and "embed" not in name
        assert factors[name] == (1 / 4 if matrix else 1.0), name
        decay = 0.4 if matrix and "mlp.gate" not in name else 0.0
        assert adamw[name] == pytest.approx((0.0025 if matrix else 0.01, decay)), name
        if matrix and name not in readouts:
            assert muon[name] == (0.02, 0.1), name
        if matrix and parameter.numel() > 500:
            small = 6**-0.5 if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")) else 1.0
            wanted = 0.02 * small * (1 / 4 if name in readouts else 1 / 2)
            assert parameter.std().item() == pytest.approx(wanted, rel=0.1), name
    assert muon["model.layers.0.mlp.shared_expert.gate.weight"] == pytest.approx((0.01, 0.2))
    assert muon["model.layers.0.mlp.gate.weight"] == pytest.approx((0.0025, 0.0))


def test_xavier_of_deepnorm_follows_the_width_already():
    fields = {"depth_scaling": "deepnorm", "residual_type": "post", "hidden_size": 128}
    wide, standard = make_untrained("encoder", **fields, **mup()), make_untrained("encoder", **fields)
    for name in ("self_attn.q_proj", "mlp.down_proj"):
        found, wanted = (model.model.layers[0].get_submodule(name).weight.std() for model in (wide, standard))
        assert abs(found / wanted - 1) < 0.05, name


@pytest.mark.parametrize("name", HEADS)
def test_every_matrix_of_every_head_has_a_factor(name):
    """A map to a number of outputs that does not grow is a readout: it starts smaller by the ratio of widths."""
    architecture, head = HEADS[name]
    fields = {"classifier_dense": "all", "hidden_size": 128, "pooling": "mean", "lm_head_type": "transform"}
    model = make_untrained(architecture, head, **fields, **mup())
    factors = learning_rate_factors(model)
    widths = {128, 48}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path != "lm_head":
            assert factors[f"{path}.weight"] == 1 / 4, path
            assert (getattr(module, "width_role", "hidden") == "readout") == (module.out_features not in widths), path


def outputs(model, tokens):
    """What each branch adds to the stream, and the logits."""
    found = {}

    def hook(name):
        def record(module, inputs, output):
            found[name] = output[0] if isinstance(output, tuple) else output

        return record

    names = [name for name, _ in model.named_modules() if name.endswith(("self_attn", "mlp"))]
    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    with torch.no_grad():
        found["logits"] = model(tokens).logits
    for handle in handles:
        handle.remove()
    return found


def changes(width, words, optimizer):
    """Mean size of what three steps change in each output, next to the base of 64."""
    fields = {"hidden_size": width, "intermediate_size": 4 * width, "mlp_type": "plain", "num_hidden_layers": 2}
    model = make_untrained("decoder", **fields, **words)
    tokens = ids(4, 16)
    before = outputs(model, tokens)
    steps = optimizer_of(model, optimizer, rate=0.001, muon_rate=0.005)
    for _ in range(3):
        model(tokens, labels=tokens).loss.backward()
        steps.step()
        steps.zero_grad()
    after = outputs(model, tokens)
    return {name: (after[name] - before[name]).abs().mean().item() for name in after}


@pytest.mark.parametrize(("optimizer", "widths"), [("adamw", (64, 128, 256, 512)), ("muon", (64, 128, 256))])
def test_coordinate_check(optimizer, widths):
    """Yang et al. 2022, appendix D.1: under muP no output's change depends on the width."""
    spread = {}
    for words, fields in (("none", {}), ("mup", mup(64, mup_base_head_dim=16))):
        table = [changes(width, fields, optimizer) for width in widths]
        spread[words] = {name: max(row[name] for row in table) / min(row[name] for row in table) for name in table[0]}
    # what the random initial weights add to the logits shrinks by the root of the width
    logits = spread["mup"].pop("logits")
    assert max(spread["mup"].values()) < 1.3, spread
    assert logits < 2, spread
    if optimizer == "adamw":
        assert min(spread["none"].values()) > 4, spread


def test_several_widths_are_refused():
    with pytest.raises(StrictDataclassError, match=r'width_scaling="mup" .* hidden_size \(32\), got embedding_size=16'):
        hf_tfm.TfmDecoderConfig(**SIZES, embedding_size=16, width_scaling="mup")
    other_width = {"decoder_hidden_size": 64, "tie_encoder_decoder_embeddings": False}
    with pytest.raises(StrictDataclassError, match="decoder_hidden_size=64"):
        hf_tfm.TfmSeq2SeqConfig(**SIZES, **other_width, width_scaling="mup")
