"""Interventions do what they say, end with their block, and the grids hold what the single ones give."""

import numpy as np
import pytest
import torch

from hf_tfm.inspection.interventions import knock_out, patch
from hf_tfm.inspection.knock_outs import estimated_effects, knock_out_grid, parse_choice
from hf_tfm.inspection.patching import patch_grid
from hf_tfm.inspection.recording import record, stacks_of
from tests.grid import LANGUAGE_MODELS, assert_same, make
from tests.inspection.test_recording import fingerprint
from tests.inspection.tiny import inputs_of, make_recording

FIELDS = {"num_hidden_layers": 2, "num_key_value_heads": 2, "out_bias": True, "qkv_bias": True}


def kinds_of(architecture: str) -> list[dict]:
    """Where an architecture has attention."""
    if architecture != "seq2seq":
        return [{}]
    return [{"stack": "source"}, {"stack": "target"}, {"stack": "target", "attention": "cross"}]


def logits_of(model, architecture, seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs_of(architecture, seed=seed)).logits


def attention_of(model, where, layer: int):
    block = stacks_of(model)[where.get("stack", "text")].layers[layer]
    return block.cross_attn if where.get("attention") == "cross" else block.self_attn


def divergence_of(whole: torch.Tensor, without: torch.Tensor) -> float:
    """KL in nats of logits (V,)."""
    log = whole.log_softmax(-1)
    return (log.exp() * (log - without.log_softmax(-1))).sum().item()


def changes_of(grids) -> dict:
    """(stack, kind, layer, head) -> change of the logit, of heads that were run."""
    return {
        (grid.stack, grid.attention, layer, head): change
        for grid in grids
        for (layer, head), change in np.ndenumerate(grid.logit_change)
        if not np.isnan(change)
    }


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_a_head_that_is_out_is_a_head_without_output_columns(architecture):
    model = make(architecture, **FIELDS)
    whole = logits_of(model, architecture)
    for where in kinds_of(architecture):
        with knock_out(model, 1, **where):
            assert torch.equal(logits_of(model, architecture), whole), "an empty knock-out changes nothing"
        attention = attention_of(model, where, 1)
        size, weight = attention.head_dim, attention.o_proj.weight
        for heads, key_value_heads in (([1], ()), ([0, 3], ()), ((), [1]), (range(4), ())):
            with knock_out(model, 1, heads, key_value_heads=key_value_heads, **where):
                found = logits_of(model, architecture)
            columns = [*heads, *(2 * index + i for index in key_value_heads for i in (0, 1))]
            kept = weight.detach().clone()
            with torch.no_grad():
                for head in columns:
                    weight[:, head * size : (head + 1) * size] = 0
                assert_same(found, logits_of(model, architecture), 1e-6, f"without heads {columns}")
                assert not torch.equal(found, whole)
                weight.copy_(kept)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_all_heads_out_is_a_branch_of_its_bias_and_a_feed_forward_out_is_zero(architecture):
    model = make(architecture, **FIELDS)
    where = kinds_of(architecture)[-1]
    with knock_out(model, 0, range(4), mlp=True, **where):
        recording = record(model, inputs_of(architecture))[0]
    bias = attention_of(model, where, 0).o_proj.bias
    name = "cross_attn" if where else "self_attn"
    for branch in recording.predicting.branches:
        if branch.layer == 0 and branch.name == name:
            assert_same(branch.output, bias.expand_as(branch.output), 1e-6, "attention")
        elif branch.layer == 0 and branch.name == "mlp":
            assert (branch.output == 0).all()
        else:
            assert branch.output.abs().max() > 0


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("wiring", ["pre", "post", "parallel"])
def test_patching(architecture, wiring):
    model = make(architecture, residual_type=wiring, **FIELDS)
    clean, other = (record(model, inputs_of(architecture, seed=seed))[0] for seed in (0, 1))
    for (name, stack), states in zip(clean.stacks.items(), other.stacks.values(), strict=True):
        for tap, own, foreign in zip(stack.taps, stack.stream, states.stream, strict=True):
            with patch(model, tap, own, stack=name):
                assert_same(logits_of(model, architecture), clean.output.logits, 1e-5, f"{tap} by itself")
            with patch(model, tap, foreign, [1], stack=name):
                patched = record(model, inputs_of(architecture))[0].stacks[name]
            found = patched.stream[patched.taps.index(tap)]
            assert_same(found[1], foreign[1], 0, "patched token")
            # in a decoder nothing before it changes
            assert_same(found[0], own[0], 0, "token beside it")
    stack = other.predicting
    with patch(model, stack.taps[-1], stack.stream[-1]):
        assert_same(logits_of(model, architecture), other.output.logits, 1e-5, "everything patched")


def test_patching_a_run_into_itself_is_bitwise():
    model = make("decoder", **FIELDS)
    model.set_attn_implementation("eager")
    recording = record(model, inputs_of("decoder"))[0]
    for tap, states in zip(recording.predicting.taps, recording.predicting.stream, strict=True):
        with patch(model, tap, states):
            assert torch.equal(logits_of(model, "decoder"), recording.output.logits)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_the_model_is_left_as_it_was(architecture):
    model = make(architecture, **FIELDS).train()
    states = record(model, inputs_of(architecture))[0].predicting.stream[0]
    before = fingerprint(model)
    patches = [patch(model, tap, states) for tap in ("embeddings", "2 attention")]
    for block in (knock_out(model, 1, [1], mlp=True), *patches):
        with pytest.raises(KeyError), block:
            raise KeyError
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 7}, "layer=7 must lie between 0 and 1"),
        ({"layer": 0, "heads": [4]}, r"heads=\[4\] must lie between 0 and 3"),
        ({"layer": 0, "attention": "cross"}, 'no attention of the kind "cross"'),
        ({"layer": 0, "stack": "source"}, 'stack="source" must be one of: text'),
    ],
)
def test_parts_that_are_not_there_are_refused(given, message):
    with pytest.raises(ValueError, match=message), knock_out(make("decoder", **FIELDS), **given):
        pass


@pytest.mark.parametrize("tap", ["1 banana", "attention", "1 cross-attention"])
def test_taps_that_are_not_there_are_refused(tap):
    with pytest.raises(ValueError, match=f'tap="{tap}" must be "embeddings" or'):
        patch(make("decoder", **FIELDS), tap, torch.zeros(3, 32)).__enter__()


def test_states_that_do_not_fit_are_refused():
    model = make("decoder", **FIELDS)
    with pytest.raises(ValueError, match="same number of tokens"), patch(model, "1 attention", torch.zeros(3, 32)):
        logits_of(model, "decoder")


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_the_grid_holds_what_single_knock_outs_give(architecture):
    recording = make_recording(architecture, **FIELDS)
    model, prediction, label = recording.model, 3, 7
    whole = logits_of(model, architecture)[0, prediction]
    grids = {(grid.stack, grid.attention): grid for grid in knock_out_grid(recording, prediction, label)}
    assert len(grids) == len(kinds_of(architecture))
    for where in kinds_of(architecture):
        grid = grids[where.get("stack", "text"), where.get("attention", "self")]
        for layer, heads, mlp in ((0, [2], False), (1, [0], False), (1, (), True)):
            with knock_out(model, layer, heads, mlp=mlp, **where):
                without = logits_of(model, architecture)[0, prediction]
            found = grid.mlp_logit_change[layer] if mlp else grid.logit_change[layer, heads[0]]
            assert abs(found - (without - whole)[label].item()) < 1e-5
            found = grid.mlp_divergence[layer] if mlp else grid.divergence[layer, heads[0]]
            assert abs(found - divergence_of(whole, without)) < 1e-5


def test_the_heads_with_the_largest_estimated_effect_are_run():
    recording = make_recording("seq2seq", **FIELDS)
    effects = estimated_effects(recording, 2, 5)
    best = sorted(effects, key=lambda place: -abs(effects[place]))[:3]
    every, some = knock_out_grid(recording, 2, 5), knock_out_grid(recording, 2, 5, "top:3")
    assert changes_of(some).keys() == set(best)
    for place, change in changes_of(some).items():
        assert abs(change - changes_of(every)[place]) < 1e-5
    for whole, part in zip(every, some, strict=True):
        assert_same(torch.tensor(part.mlp_logit_change), torch.tensor(whole.mlp_logit_change), 1e-5)
    assert knock_out_grid(recording, 2, 5, "none") == []


def test_an_estimate_is_the_derivative_of_a_knock_out():
    """Of a head that writes little, the estimate is the change."""
    model = make("decoder", **FIELDS)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.mul_(1e-3)
    recording = record(model.double(), inputs_of("decoder"))[0]
    estimates = estimated_effects(recording, 4, 6)
    change = knock_out_grid(recording, 4, 6)[0].logit_change[0]
    for head in range(4):
        assert estimates["text", "self", 0, head] == pytest.approx(change[head], rel=0.05, abs=1e-6)


@pytest.mark.parametrize("choice", ["some", "top:0", "top:", "8"])
def test_other_choices_of_heads_are_refused(choice):
    with pytest.raises(ValueError, match='must be "all", "none" or "top:N"'):
        parse_choice(choice)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_patched_texts(architecture):
    model = make(architecture, **FIELDS)
    inputs = inputs_of(architecture)
    clean = record(model, inputs)[0]
    other = record(model, {**inputs, "input_ids": inputs_of(architecture, seed=3)["input_ids"]})[0]
    label, other_label = (int(run.output.logits[0, 4].argmax()) for run in (clean, other))
    found = patch_grid(clean, other, 4, label, other_label)
    assert found.recovered.shape == (len(found.taps), 7)
    if architecture == "decoder":
        assert found.recovered[-1, 4] == pytest.approx(1, abs=1e-5)
        assert abs(found.recovered[:, 5:]).max() < 1e-5, "what comes after changes nothing"
    same = record(model, inputs)[0]
    with pytest.raises(ValueError, match="give the same logits"):
        patch_grid(clean, same, 4, label, label)
    shorter = record(model, {**inputs, "input_ids": inputs["input_ids"][:, :5]})[0]
    with pytest.raises(ValueError, match="have 7 and 5 tokens"):
        patch_grid(clean, shorter, 4, label, label)
