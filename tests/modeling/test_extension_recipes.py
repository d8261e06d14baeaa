"""The extension recipes of CONTRIBUTING hold: a new part is one class and one entry of a registry.

Each test adds a part on the fly and puts it through the promises that built-in parts keep; forgetting a step fails
with a message that names it."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

import hf_tfm
from hf_tfm.modeling.block import WIRINGS, Wiring
from hf_tfm.modeling.feed_forward import FEED_FORWARDS, FeedForward
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderModel, TfmEncoderPreTrainedModel
from hf_tfm.modeling.normalization import NORMS, QK_NORMS
from hf_tfm.modeling.position import POSITIONS, BiasPosition
from tests.grid import SIZES, assert_same, ids, logits_of, make

ARCHITECTURES = ["encoder", "decoder", "seq2seq"]


class Kerple(BiasPosition):
    """-a log(1 + b |distance|), a and b learned per head.   Chi et al. 2022, arXiv:2205.09921."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.scale = nn.Parameter(torch.empty(config.num_attention_heads, 1, 1))
        self.decay = nn.Parameter(torch.empty(config.num_attention_heads, 1, 1))

    def reset_parameters(self) -> None:
        init.constant_(self.scale, 0.5)
        init.constant_(self.decay, 1.0)

    def distance_bias(self, distance: torch.Tensor) -> torch.Tensor:
        return -self.scale.abs() * torch.log1p(self.decay.abs() * distance.abs())


class DynamicTanh(nn.Module):
    """weight tanh(alpha x) + bias in place of a norm.   Zhu et al. 2025, arXiv:2503.10622."""

    def __init__(self, shape: Any, config: Any, affine: bool = True) -> None:
        super().__init__()
        shape = (shape,) if isinstance(shape, int) else shape
        self.alpha = nn.Parameter(torch.empty(1))
        self.weight = nn.Parameter(torch.empty(shape)) if affine else None
        self.bias = nn.Parameter(torch.empty(shape)) if affine else None

    def reset_parameters(self) -> None:
        init.constant_(self.alpha, 0.5)
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        squashed = torch.tanh(self.alpha * hidden_states)
        return squashed if self.weight is None else self.weight * squashed + self.bias


class SquaredGate(FeedForward):
    """down(scale relu(gate(x))^2 up(x)), with one learned scale."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, width)
        self.up_proj = nn.Linear(config.hidden_size, width)
        self.down_proj = nn.Linear(width, config.hidden_size)
        self.scale = nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        init.ones_(self.scale)

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        return {"gate_proj": "colwise", "up_proj": "colwise", "down_proj": "rowwise"}

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = F.relu(self.gate_proj(hidden_states)).square()
        return self.down_proj(self.scale * gate * self.up_proj(hidden_states))


# field -> (registry, class); the value of the field is "new"
NEW_PARTS: dict[str, tuple[dict[str, Any], type[nn.Module]]] = {
    "position_type": (POSITIONS, Kerple),
    "norm_type": (NORMS, DynamicTanh),
    "mlp_type": (FEED_FORWARDS, SquaredGate),
}


@pytest.fixture(params=NEW_PARTS)
def field(request, monkeypatch):
    """A configuration field that has one more value, "new"."""
    registry, part = NEW_PARTS[request.param]
    monkeypatch.setitem(registry, "new", part)
    return request.param


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_new_part_trains_and_gradients_reach_its_weights(field, architecture):
    model = make(architecture, **{field: "new"}).train()
    model(input_ids=ids(2, 7), labels=ids(2, 7)).loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing, f"no gradient reaches {missing}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_new_part_keeps_padding_inert(field, architecture):
    model = make(architecture, **{field: "new"})
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    padded = logits_of(model, ids(2, 7), attention_mask=mask)
    alone = logits_of(model, ids(2, 7)[1:, :4])
    length = alone.shape[1]
    assert_same(padded[1:, :length], alone, 1e-5, "logits of the padded row")


def test_a_new_part_decodes_from_the_cache_as_in_the_full_forward(field):
    model, tokens = make("decoder", **{field: "new"}), ids(2, 9)
    with torch.no_grad():
        cache = model(tokens[:, :5], use_cache=True).past_key_values
        steps = [model(tokens[:, i : i + 1], past_key_values=cache).logits for i in range(5, 9)]
    assert_same(torch.cat(steps, 1), logits_of(model, tokens)[:, 5:], 1e-5, "cached logits")


def test_a_new_part_is_saved_and_loaded(field, tmp_path):
    model = make("decoder", **{field: "new"})
    model.save_pretrained(tmp_path)
    loaded = hf_tfm.TfmDecoderForCausalLM.from_pretrained(tmp_path)
    assert getattr(loaded.config, field) == "new"
    assert torch.equal(logits_of(loaded, ids(2, 7)), logits_of(model, ids(2, 7)))


def test_a_new_part_has_parallel_plans(field):
    plan = make("decoder", **{field: "new"}).tp_plan
    if field == "position_type":
        # every process computes the bias of all heads, and sums the gradients of its own
        assert plan["model.position"] == "replicated_bias"
        assert plan["model.layers.*.self_attn"] == "local_heads_bias"
    if field == "mlp_type":
        assert plan["model.layers.*.mlp.down_proj"] == "rowwise"
        assert "model.layers.*.mlp.experts" not in plan
    assert plan["model.layers.*.self_attn.q_proj"] == "colwise"


def test_a_value_that_no_registry_has_is_refused_with_those_that_exist():
    for field, (registry, _) in NEW_PARTS.items():
        with pytest.raises(StrictDataclassError, match=rf"(?s){field}.*'new' is not one of.*{next(iter(registry))}"):
            hf_tfm.TfmDecoderConfig(**SIZES, **{field: "new"})


def test_a_new_wiring_is_a_row(monkeypatch):
    """Norms before branches and on the sum, as in ResiDual's post branch."""
    monkeypatch.setitem(WIRINGS, "new", Wiring(pre_norm=True, later_pre_norm=True, post_norm=True))
    model = make("decoder", residual_type="new").train()
    model(input_ids=ids(2, 7), labels=ids(2, 7)).loss.backward()
    block = model.model.layers[0]
    assert block.mlp_residual.pre_norm is not None
    assert block.mlp_residual.post_norm is not None
    assert block.mlp_residual.branch_norm is None


# Parameters


def values_to_walk() -> list[dict[str, Any]]:
    """Configurations that contain every class of the registries."""
    positions = [{"position_type": value} for value in POSITIONS]
    norms = [{"norm_type": norm, "qk_norm": qk} for norm in NORMS for qk in QK_NORMS]
    feed_forwards = [{"mlp_type": value} for value in FEED_FORWARDS]
    others = [
        {"attention_sinks": True, "lm_head_type": "transform", "classifier_dense": "all", "embedding_size": 16},
        {"mlp_type": "moe", "shared_expert_intermediate_size": 16, "depth_scaling": "scaled"},
        {"residual_type": "post", "depth_scaling": "deepnorm"},
    ]
    return [*positions, *norms, *feed_forwards, *others]


def public_heads() -> list[Any]:
    return [getattr(hf_tfm, name) for name in hf_tfm.__all__ if name.startswith("Tfm") and not name.endswith("Config")]


def assert_initialised_from_garbage(model_class: Any, fields: dict[str, Any]) -> None:
    """Builds a model without memory, fills it with NaN, initialises it, and finds no NaN and no large value."""
    with torch.device("meta"):
        model = model_class(model_class.config_class(**{**SIZES, **fields}))
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(torch.nan if tensor.is_floating_point() else 99)
    model.initialize_weights()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        assert tensor.isfinite().all(), f"{name} is not initialised"
        assert tensor.abs().max() < 20, f"{name} starts at {tensor.abs().max()}"


@pytest.mark.parametrize("fields", values_to_walk(), ids=str)
def test_every_part_initialises_its_parameters(fields):
    for model_class in (hf_tfm.TfmEncoderForMaskedLM, hf_tfm.TfmSeq2SeqForConditionalGeneration):
        assert_initialised_from_garbage(model_class, fields)


@pytest.mark.parametrize("head", public_heads(), ids=lambda head: head.__name__)
def test_every_head_initialises_its_parameters(head):
    fields: dict[str, Any] = {"classifier_dense": "all", "classifier_norm": True, "lm_head_bias": True}
    if hasattr(head.config_class, "add_pooling_layer"):
        fields["add_pooling_layer"] = True
    assert_initialised_from_garbage(head, fields)


def test_a_new_part_initialises_its_parameters(field):
    assert_initialised_from_garbage(hf_tfm.TfmDecoderForCausalLM, {field: "new"})


def test_a_new_part_missing_in_a_checkpoint_is_initialised(field, tmp_path):
    model = make("decoder", **{field: "new"})
    own = {"position_type": "position", "norm_type": "norm", "mlp_type": "scale"}[field]
    weights = {name: weight for name, weight in model.state_dict().items() if own not in name}
    assert len(weights) < len(model.state_dict())
    model.save_pretrained(tmp_path, state_dict=weights)
    loaded = hf_tfm.TfmDecoderForCausalLM.from_pretrained(tmp_path)
    for name, parameter in loaded.named_parameters():
        if own in name:
            known = torch.tensor([0.0, 0.5, 1.0])
            assert torch.isin(parameter, known).all(), f"{name} holds {parameter.flatten()[:3]}"


def test_a_part_that_forgets_reset_parameters_is_refused_by_name(monkeypatch):
    class Forgetful(DynamicTanh):
        reset_parameters = None

    monkeypatch.setitem(NORMS, "new", Forgetful)
    with pytest.raises(TypeError, match=r"Forgetful has parameters.*alpha, weight, bias.*reset_parameters"):
        make("decoder", norm_type="new")


# Heads

USER_HEAD = '''"""A head in a user's own file."""

import torch
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput

from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderModel, TfmEncoderPreTrainedModel


class TokenImportance(TfmEncoderPreTrainedModel):
    """One number per token (B, T)."""

    def __init__(self, config):
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=False)
        self.importance = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **kwargs):
        states = self.model(input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        return TokenClassifierOutput(logits=self.importance(states).squeeze(-1))
'''
READER = """
import sys, torch
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
print(type(model).__name__)
torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])
"""


def test_a_users_head_without_an_auto_class_travels_with_its_file(tmp_path, monkeypatch):
    (tmp_path / "importance_head.py").write_text(USER_HEAD)
    monkeypatch.syspath_prepend(tmp_path)
    from importance_head import TokenImportance  # pyright: ignore[reportMissingImports]

    model, tokens = make("encoder", TokenImportance), ids(2, 5)
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "importance_head.py").exists()
    assert model.config.auto_map["AutoModel"] == "importance_head.TokenImportance"
    # a map to one number sums in another order where its weights lie at another offset in memory
    reopened = TokenImportance.from_pretrained(tmp_path / "saved")
    assert_same(reopened(tokens).logits, model(tokens).logits, 1e-6, "logits of the reopened head")

    torch.save(tokens, tmp_path / "tokens")
    command = [sys.executable, "-c", READER, "saved", "tokens", "logits"]
    (tmp_path / "importance_head.py").unlink()
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["TokenImportance"], found.stderr
    assert_same(torch.load(tmp_path / "logits"), model(tokens).logits, 1e-6, "logits in another process")


def test_a_head_may_hold_torchs_own_modules(tmp_path):
    class Mixed(TfmEncoderPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.model = TfmEncoderModel(config)
            self.parts = nn.ModuleList(
                [nn.PReLU(), nn.GRU(config.hidden_size, 8), nn.BatchNorm1d(8), nn.Bilinear(8, 8, 2), nn.RMSNorm(8)]
            )
            self.post_init()

    assert_initialised_from_garbage(Mixed, {})
    model = make("encoder", Mixed)
    model.parts[2].running_mean.fill_(3.0)
    model.save_pretrained(tmp_path)
    loaded = Mixed.from_pretrained(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), f"{name} is not the saved one"


def test_a_head_built_on_the_fly_keeps_the_models_promises():
    class Doubled(TfmEncoderPreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.model = TfmEncoderModel(config)
            self.output = nn.Linear(config.hidden_size, 2)
            self.post_init()

        def forward(self, input_ids, attention_mask=None):
            return self.output(self.model(input_ids, attention_mask=attention_mask).last_hidden_state)

    assert_initialised_from_garbage(Doubled, {})
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    model = make("encoder", Doubled)
    assert_same(model(ids(2, 7), mask)[1:, :4], model(ids(2, 7)[1:, :4]), 1e-5, "outputs of the padded row")
