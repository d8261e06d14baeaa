"""Costs, against what torch counts and holds."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import hf_tfm
from hf_tfm.inspection import activation_memory
from hf_tfm.inspection.flops import visible_pairs
from hf_tfm.inspection.model_costs import costs
from hf_tfm.inspection.model_parts import parts_of
from tests.grid import LANGUAGE_MODELS, ids, make
from tests.inspection.test_recording import fingerprint

BATCH, LENGTH = 2, 12
CHOICES = {
    "plain": {"mlp_type": "plain", "norm_type": "layer_norm", "residual_type": "post"},
    "gated": {"attention_output_gate": "channel", "norm_type": "nonparametric_rms_norm"},
    "grouped": {"num_key_value_heads": 2, "head_dim": 12, "tie_word_embeddings": False, "lm_head_type": "transform"},
    "experts": {"mlp_type": "moe", "num_experts": 4, "shared_expert_intermediate_size": 16},
    "factorised": {"embedding_size": 16, "sliding_window": 4, "residual_type": "sandwich"},
}


def inputs_of(architecture: str) -> dict[str, torch.Tensor]:
    inputs = {"input_ids": ids(BATCH, LENGTH)}
    return {**inputs, "decoder_input_ids": ids(BATCH, LENGTH, seed=1)} if architecture == "seq2seq" else inputs


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("choice", CHOICES)
def test_parameters_flops_and_bytes(architecture, choice):
    model = make(architecture, **CHOICES[choice])
    model.set_attn_implementation("eager")
    model.set_experts_implementation("eager")
    before = fingerprint(model)
    rows = costs(model, BATCH, LENGTH)
    assert fingerprint(model) == before
    total = rows[-1]
    assert total.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert total.weight_bytes == total.gradient_bytes == 4 * total.parameters
    assert len({row.name for row in rows}) == len(rows)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs_of(architecture))
    assert total.flops_dense * BATCH * LENGTH == pytest.approx(counter.get_total_flops(), rel=0.01)
    # what AdamW keeps, its counts of steps apart
    optimizer = torch.optim.AdamW(model.parameters())
    model(**inputs_of(architecture)).logits.sum().backward()
    # weights of experts that no token chose have no gradient here
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    assert total.optimizer_bytes == sum(value.nbytes for value in states)
    assert total.gradient_bytes == sum(parameter.grad.nbytes for parameter in model.parameters())


@pytest.mark.parametrize("length", [3, 12])
@pytest.mark.parametrize("architecture", ["decoder", "seq2seq"])
def test_bytes_of_the_cache(architecture, length):
    layer_types = ["sliding_attention", "full_attention", "sliding_attention"]
    model = make(architecture, num_key_value_heads=2, sliding_window=4, layer_types=layer_types)
    inputs = {name: value[:, :length] for name, value in inputs_of(architecture).items()}
    with torch.no_grad():
        cache = model(**inputs, use_cache=True).past_key_values
    parts = (cache.self_attention_cache, cache.cross_attention_cache) if architecture == "seq2seq" else (cache,)
    held = sum(layer.keys.nbytes + layer.values.nbytes for part in parts for layer in part.layers)
    assert costs(model, BATCH, length, with_activations=False)[-1].cache_bytes == held
    assert costs(make("encoder"), with_activations=False)[-1].cache_bytes == 0


@pytest.mark.parametrize("head", [hf_tfm.TfmEncoderForSequenceClassification, hf_tfm.TfmEncoderForQuestionAnswering])
@pytest.mark.parametrize(("dense", "pooling"), [("pooled", "first"), ("all", "late"), ("pooled", "late")])
def test_flops_of_other_heads(head, dense, pooling):
    model = make("encoder", head, num_hidden_layers=1, hidden_size=16, intermediate_size=8, num_labels=5,
                 classifier_dense=dense, pooling=pooling)  # fmt: skip
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids(BATCH, LENGTH))
    total = costs(model, BATCH, LENGTH, with_activations=False)[-1]
    assert total.flops_dense * BATCH * LENGTH == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_causal_flops_follow_from_the_mask(architecture):
    for window in (None, 4):
        model = make(architecture, sliding_window=window)
        rows = {row.name: row for row in costs(model, 1, LENGTH, with_activations=False)}
        name = "source 1 attention" if architecture == "seq2seq" else "1 attention"
        saved = rows[name].flops_dense - rows[name].flops_causal
        is_causal = architecture == "decoder"
        seen = sum(
            (key <= query if is_causal else True) and (window is None or abs(query - key) < window + (not is_causal))
            for query in range(LENGTH)
            for key in range(LENGTH)
        )
        assert saved * LENGTH == pytest.approx(4 * 32 * (LENGTH**2 - seen))
        if architecture == "seq2seq":
            assert rows["target 1 cross-attention"].flops_dense == rows["target 1 cross-attention"].flops_causal


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3, 50])
def test_visible_pairs_equal_a_recorded_mask(is_causal, window):
    from hf_tfm.inspection.recording import record

    model = make("decoder" if is_causal else "encoder", sliding_window=window, num_hidden_layers=1)
    call = record(model, {"input_ids": ids(1, 9)})[0].stacks["text"].attentions[0]
    assert visible_pairs(9, 9, is_causal, window) == int(call.visible.sum())


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("choice", ["plain", "experts"])
def test_activations_of_a_large_step_follow_from_small_ones(architecture, choice, monkeypatch):
    model = make(architecture, **CHOICES[choice], hidden_dropout=0.1)
    measured = costs(model, 3, 20)
    monkeypatch.setattr(activation_memory, "LARGEST_MEASURED", 0)
    for wanted, found in zip(measured, costs(model, 3, 20), strict=True):
        assert found.activation_bytes == pytest.approx(wanted.activation_bytes, rel=0.01), wanted.name


def test_activations_are_what_the_graph_holds():
    model = make("decoder", mlp_type="plain", residual_type="post", tie_word_embeddings=False)
    held = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = []

    def keep(tensor):
        # alive until the end, so that addresses are not used again
        kept.append(tensor)
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(ids(BATCH, LENGTH), labels=ids(BATCH, LENGTH), use_cache=False)
    wanted = sum(size for address, size in held.items() if address not in own)
    assert costs(model, BATCH, LENGTH)[-1].activation_bytes == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("name", [name for name in hf_tfm.__all__ if "For" in name or name.endswith("Model")])
def test_parts_hold_every_parameter_of_every_head(name):
    architecture = next(key for key in ("seq2seq", "encoder", "decoder") if key in name.lower())
    model = make(architecture, getattr(hf_tfm, name), num_hidden_layers=1, embedding_norm="after_positions")
    parts = parts_of(model)
    # a model without a head has nothing that belongs to no other part
    assert (parts[-1].name == "head") == ("For" in name and "Embedding" not in name)
    modules = [module for part in parts for module in part.modules.values()]
    held = {parameter for module in modules for parameter in module.parameters()}
    assert held == set(model.parameters())
