"""What a recording holds is what happened, and the model is as it was before."""

import hashlib

import pytest
import torch

import hf_tfm
from hf_tfm.inspection.model_state import inspected
from hf_tfm.inspection.recording import AttentionCall, record
from tests.grid import AXES, LANGUAGE_MODELS, assert_same, config_fields, ids, make, pairwise, row_id
from tests.inspection.tiny import inputs_of, make_recording

# attention as it can be configured; wirings and norms are in test_attribution.py
ATTENTIONS = pairwise({name: AXES[name] for name in ("position", "heads", "qk_norm", "window", "scores")})


def independent_weights(call: AttentionCall) -> torch.Tensor:
    """Softmax of the recorded queries and keys, cap, bias and mask, head by head."""
    rows = []
    for head, query in enumerate(call.query):
        scores = query @ call.key[head // call.module.num_key_value_groups].T * call.scaling
        if call.softcap is not None:
            scores = call.softcap * torch.tanh(scores / call.softcap)
        if call.bias is not None:
            scores = scores + call.bias[head]
        scores = scores.masked_fill(~call.visible, -torch.inf)
        if call.sinks is not None:
            scores = torch.cat((scores, call.sinks[head].expand(len(scores), 1)), dim=1)
        rows.append(scores.softmax(-1)[:, : call.visible.shape[1]])
    return torch.stack(rows)


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("choices", ATTENTIONS[::2], ids=row_id)
def test_attention_equals_an_independent_softmax_and_rows_sum_to_one(architecture, choices):
    recording = make_recording(architecture, **config_fields(choices))
    for stack in recording.stacks.values():
        for call in stack.attentions:
            assert_same(call.weights, independent_weights(call), 1e-6, "weights")
            assert_same(call.weights.sum(-1) + call.missing(), torch.ones(call.weights.shape[:2]), 1e-5, "sums")
            assert (call.weights[:, ~call.visible] == 0).all(), "a hidden key has weight"
            gate = 1.0 if call.gate is None else call.gate
            assert_same(call.outputs, gate * (call.weights @ call.values()), 1e-5, "outputs of heads")


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_the_stream_is_what_the_blocks_make_and_ends_in_the_logits(architecture):
    recording = make_recording(architecture, mlp_type="plain", mlp_bias=True, residual_type="sandwich")
    stack = recording.predicting
    assert stack.taps == ["embeddings", *(branch.tap for branch in stack.branches)]
    with torch.no_grad():
        for before, branch in zip(stack.stream, stack.branches, strict=False):
            assert_same(branch.before, before, 0, "stream before a branch")
        first = next(branch for branch in stack.branches if branch.name == "mlp")
        assert_same(stack.stack.layers[0].mlp.down_proj(stack.activations[0]), first.output, 1e-6, "feed-forward")
        assert_same(stack.stack.norm(stack.stream[-1][None])[0], stack.last, 0, "final norm")
        assert_same(recording.model.compute_logits(stack.last[None]), recording.output.logits, 0, "logits")


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_left_out(architecture, side):
    model = make(architecture, position_type="learned", num_key_value_heads=2)
    lengths, widest = (4, 6), 6
    rows = [ids(1, length, seed=length) for length in lengths]
    padded = torch.zeros(2, widest, dtype=torch.long)
    mask = torch.zeros(2, widest, dtype=torch.long)
    for i, row in enumerate(rows):
        columns = slice(0, row.shape[1]) if side == "right" else slice(widest - row.shape[1], widest)
        padded[i, columns], mask[i, columns] = row[0], 1
    target = inputs_of(architecture).get("decoder_input_ids")
    beside = {} if target is None else {"decoder_input_ids": target.expand(2, -1)}
    together = record(model, {"input_ids": padded, "attention_mask": mask, **beside})
    for i, (recording, row) in enumerate(zip(together, rows, strict=True)):
        alone = record(model, {"input_ids": row, **{name: value[:1] for name, value in beside.items()}})[0]
        for name, values in alone.arrays().items():
            found = torch.tensor(recording.arrays()[name])
            assert_same(found.double(), torch.tensor(values).double(), 1e-6, name)
        with torch.no_grad():
            logits = model(padded, attention_mask=mask, **beside).logits[i]
        wanted = logits if beside else logits[mask[i].bool()]
        assert_same(recording.output.logits[0], wanted, 2e-5, "logits of the padded batch")


def test_packed_rows_are_recorded_with_their_documents_apart():
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
    for architecture in ("encoder", "decoder"):
        recording = record(make(architecture), {"input_ids": ids(1, 7), "position_ids": positions})[0]
        for call in recording.predicting.attentions:
            assert (call.weights[:, 3:, :3] == 0).all()


def test_experts_and_their_router_are_recorded():
    stack = make_recording("decoder", mlp_type="moe", num_experts=4, moe_layers=[True, False, True]).predicting
    assert set(stack.experts) == set(stack.router_logits) == {0, 2}
    assert set(stack.activations) == {1}
    best = stack.router_logits[0].topk(2).indices
    assert (best.sort().values == stack.experts[0].sort().values).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "needs input_ids .* got no input"),
        ({"input_ids": ids(1, 3), "labels": ids(1, 3)}, "leave out labels"),
        ({"input_ids": ids(1, 3), "attention_mask": torch.tensor([[1, 0, 1]])}, "padding between real tokens"),
        ({"input_ids": ids(1, 3), "attention_mask": torch.zeros(1, 3)}, "Row 0 of attention_mask holds no real token"),
    ],
)
def test_inputs_that_have_no_rows_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        record(make("decoder"), inputs)


def fingerprint(model) -> tuple:
    """Everything that an inspection must not change."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    gradients = [parameter.grad for parameter in model.parameters()]
    return (
        digest.hexdigest(), hooks, modes, flags, gradients, model.config._attn_implementation, model.config.to_dict(),
        torch.is_grad_enabled(), torch.get_rng_state().tolist(),
    )  # fmt: skip


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_the_model_is_left_as_it_was(architecture):
    recorded = dict.fromkeys(("output_hidden_states", "output_router_logits"), True)
    model = make(architecture, hidden_dropout=0.1, mlp_type="moe", num_experts=4, **recorded).train()
    model.model.requires_grad_(False)
    before = fingerprint(model)
    record(model, inputs_of(architecture))
    assert fingerprint(model) == before


@pytest.mark.parametrize("architecture", LANGUAGE_MODELS)
def test_the_model_is_left_as_it_was_by_an_error(architecture):
    model = make(architecture).train()
    before = fingerprint(model)
    inputs = {**inputs_of(architecture), "input_ids": torch.full((1, 3), 10**6)}
    with pytest.raises(IndexError):
        record(model, inputs)
    assert fingerprint(model) == before


def fail_inside(model) -> None:
    with inspected(model, _attn_implementation="eager"):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        raise KeyError


def test_an_error_ends_an_inspection():
    model = make("encoder").train()
    before = fingerprint(model)
    with pytest.raises(KeyError):
        fail_inside(model)
    assert fingerprint(model) == before


def test_all_heads_can_be_recorded():
    for name in hf_tfm.__all__:
        head = getattr(hf_tfm, name)
        if not isinstance(head, type) or not hasattr(head, "forward") or "MultipleChoice" in name:
            continue
        architecture = next(
            key
            for key, word in {"seq2seq": "Seq2Seq", "encoder": "Encoder", "decoder": "Decoder"}.items()
            if word in name
        )
        inputs = {"input_ids": ids(1, 6)}
        if name in ("TfmSeq2SeqModel", "TfmSeq2SeqForConditionalGeneration"):
            inputs["decoder_input_ids"] = ids(1, 4)
        recording = record(make(architecture, head, num_hidden_layers=1), inputs)[0]
        assert all(stack.attentions and stack.branches for stack in recording.stacks.values()), name
