"""What holds for every model that a configuration builds. Each property takes a `Case` and asserts.

Two ways to the same numbers are compared in float64 where possible, so that a difference is a mistake.
"""

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache

from hf_tfm.inspection.lens import logit_lens
from hf_tfm.inspection.logit_attribution import attribution
from hf_tfm.inspection.recording import record
from hf_tfm.inspection.stream import stream_growth
from tests.fuzz.case import Case, NotApplicable, check_names_field
from tests.grid import assert_same

EXACT = 1e-9  # float64: relative difference of two ways to the same numbers
ROUNDING = 2e-4  # float32 sums in another order; cancelled gradients keep few digits


def trains(case: Case) -> None:
    """One step of SGD: the loss is finite before and after, and every parameter has a finite gradient, not zero."""
    model = case.model().train()
    batch = case.batch()
    loss = model(**batch, return_dict=True).loss
    loss.backward()
    assert torch.isfinite(loss), f"loss {loss.item()}"
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"gradient of {name} is not finite"
        if case.is_legal and not case.may_have_no_gradient(name):
            assert parameter.grad.count_nonzero(), f"gradient of {name} is zero"
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert torch.isfinite(model(**batch, return_dict=True).loss), "loss after one step"


def save_and_load(model: Any) -> Any:
    """The model read back from a folder; fails if a weight is missing, superfluous or of another shape."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded, report = type(model).from_pretrained(folder, output_loading_info=True, dtype=model.dtype)
    assert not any(report.values()), report
    loaded.set_experts_implementation(model.config._experts_implementation)
    return loaded


def loads_as_saved(case: Case) -> None:
    """Weights, buffers, logits and configuration are bitwise those that were saved."""
    model = case.model()
    loaded = save_and_load(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        other = loaded.get_parameter_or_buffer(name)
        assert torch.equal(tensor, other), f"{name} differs after loading"
    saved, read = model.config.to_diff_dict(), loaded.config.to_diff_dict()
    changed = {key for key in saved.keys() | read.keys() if saved.get(key) != read.get(key)} - {"dtype"}
    assert not changed, f"configuration differs after loading: {changed}"
    # rounding depends on the alignment of memory, which differs between mapped and allocated weights
    for parameter in loaded.parameters():
        parameter.data = parameter.data.clone()
    assert torch.equal(case.logits(loaded), case.logits(model)), "logits differ after loading"


def generates(case: Case) -> None:
    """Greedy text is the same with and without a cache, and beside a longer row."""
    model = case.double_model()
    plain = [case.generate(model, row, use_cache=False)[0] for row in case.rows]
    cached = [case.generate(model, row, use_cache=True)[0] for row in case.rows]
    assert cached == plain, f"text with a cache {cached}, without {plain}"
    tokens, mask = case.pad("left")
    batch = case.generate(model, tokens, attention_mask=mask, use_cache=True)
    # rotary frequencies may be those of the longest row
    alone = (
        plain if case.has_fixed_frequencies() else case.generate(model, tokens, attention_mask=mask, use_cache=False)
    )
    assert batch == alone, f"text of the left-padded batch {batch}, of rows alone or without a cache {alone}"


def padding_is_inert(case: Case) -> None:
    """Logits of real tokens are those of the row without padding, on both sides, unpadded or not."""
    case.require_fixed_frequencies()
    for padding_free in (True, False):
        model = case.double_model(padding_free=padding_free)
        alone = [case.logits(model, row) for row in case.rows]
        for side in ("left", "right"):
            tokens, mask = case.pad(side)
            found = case.logits(model, tokens, attention_mask=mask)
            for row, (logits, real) in enumerate(zip(found, mask.bool(), strict=True)):
                kept = logits if case.is_seq2seq else logits[real]
                what = f"{side}-padded logits of row {row}, padding_free={padding_free}"
                assert_same(kept, alone[row][0], EXACT, what)


def packed_documents_are_apart(case: Case) -> None:
    """Documents of one row, told apart by their position ids, are computed as if alone."""
    case.require_fixed_frequencies()
    documents = case.rows
    packed = torch.cat(documents, 1)
    positions = torch.cat([torch.arange(row.shape[1]) for row in documents])[None]
    for padding_free in (True, False):
        model = case.double_model(padding_free=padding_free)
        stack = model.model.encoder if case.is_seq2seq else model.model
        options = {} if case.architecture != "decoder" else {"use_cache": False}
        with torch.no_grad():
            wanted = [stack(input_ids=row, return_dict=True, **options).last_hidden_state for row in documents]
            found = stack(input_ids=packed, position_ids=positions, return_dict=True, **options).last_hidden_state
        assert_same(found, torch.cat(wanted, 1), EXACT, f"packed hidden states, padding_free={padding_free}")


def chunks_equal_the_whole(case: Case) -> None:
    """A row read in chunks through a dynamic or a static cache gives the logits of the whole row."""
    model = case.double_model()
    tokens = case.target if case.is_seq2seq else case.tokens
    memory = {"input_ids": case.tokens} if case.is_seq2seq else {}
    name = "decoder_input_ids" if case.is_seq2seq else "input_ids"
    with torch.no_grad():
        wanted = model(**memory, **{name: tokens}, use_cache=False, return_dict=True).logits
        for kind in (DynamicCache, StaticCache):
            extra: dict[str, Any] = {"max_cache_len": tokens.shape[1] + 2} if kind is StaticCache else {}
            cache: Any = kind(config=model.config.get_text_config(decoder=True), **extra)
            if case.is_seq2seq:
                cache = EncoderDecoderCache(cache, DynamicCache())
            parts = [
                model(**memory, **{name: part}, past_key_values=cache, use_cache=True, return_dict=True).logits
                for part in (tokens[:, :3], tokens[:, 3:4], tokens[:, 4:])
                if part.shape[1]
            ]
            assert_same(torch.cat(parts, 1), wanted, EXACT, f"logits in chunks, {kind.__name__}")


def no_token_sees_later_ones(case: Case) -> None:
    """Logits do not change with later tokens."""
    model = case.double_model()
    tokens = case.target if case.is_seq2seq else case.tokens
    other = torch.cat((tokens[:, :3], tokens[:, 3:].flip(-1)), 1)
    before, after = (
        case.logits(model, case.tokens, ids) if case.is_seq2seq else case.logits(model, ids) for ids in (tokens, other)
    )
    assert_same(after[:, :3], before[:, :3], EXACT, "logits before the changed tokens")


def losses_and_gradients(model: Any, batches: list[dict[str, Any]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum of the losses, and the gradients of all parameters."""
    model.zero_grad()
    torch.manual_seed(0)
    losses = [model(**batch, return_dict=True).loss for batch in batches]
    for loss in losses:
        loss.backward()
    return torch.stack(losses).sum().detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same_training(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    assert_same(found[0], wanted[0], tolerance, f"loss, {what}")
    for name, gradient in wanted[1].items():
        assert_same(found[1][name], gradient, tolerance, f"gradient of {name}, {what}")


def fused_loss_equals_plain(case: Case) -> None:
    """The loss without logits, and its gradients."""
    model, batch = case.model(), case.padded_batch()
    plain = losses_and_gradients(model, [{**batch, "fused_loss": False}])
    fused = losses_and_gradients(model, [{**batch, "fused_loss": True}])
    assert_same_training(fused, plain, ROUNDING, "fused")


def checkpointed_gradients_are_equal(case: Case) -> None:
    """With gradient checkpointing, reentrant or not."""
    model, batch = case.double_model().train(), case.batch()
    plain = losses_and_gradients(model, [batch])
    for reentrant in (True, False):
        checkpointed = copy.deepcopy(model)
        checkpointed.gradient_checkpointing_enable({"use_reentrant": reentrant})
        found = losses_and_gradients(checkpointed, [batch])
        assert_same_training(found, plain, EXACT, f"checkpointed, use_reentrant={reentrant}")


def accumulated_steps_equal_one(case: Case) -> None:
    """Two micro-batches that know the step's number of labels sum to the loss and the gradients of one batch."""
    if case.config.mlp_type == "moe" and case.config.router_aux_loss_coef:
        raise NotApplicable("router_aux_loss_coef: the load of experts is balanced over a micro-batch")
    case.require_fixed_frequencies()
    model, batch = case.double_model(), case.padded_batch()
    scored = batch["labels"][:, 1:] if case.architecture == "decoder" else batch["labels"]
    items = {"num_items_in_batch": scored.ne(-100).sum()}
    whole = losses_and_gradients(model, [{**batch, **items}])
    halves = [{name: part[row : row + 1] for name, part in batch.items()} | items for row in range(2)]
    # transformers' loss is computed in float32
    assert_same_training(losses_and_gradients(model, halves), whole, 1e-5, "accumulated")


def resizes(case: Case) -> None:
    """More words change no logit of the old ones, and the model trains with a new one."""
    if case.is_seq2seq and case.config.decoder_vocab_size != case.config.vocab_size:
        raise NotApplicable("decoder_vocab_size: which vocabulary is meant is not known")
    model = case.double_model()
    size, before = case.config.vocab_size, case.logits(model)
    model.resize_token_embeddings(size + 3, mean_resizing=False)
    assert model.config.vocab_size == size + 3, "vocab_size after resizing"
    after = case.logits(model)
    assert after.shape[-1] == size + 3, f"{after.shape[-1]} logits for {size + 3} words"
    assert_same(after[..., :size], before, EXACT, "logits of the old words")
    batch = case.batch()
    batch["input_ids"][:, 1] = batch["labels"][:, 1] = size + 2
    for fused in (False, True):
        assert torch.isfinite(model(**batch, fused_loss=fused, return_dict=True).loss), (
            f"loss with a new word, fused_loss={fused}"
        )
    assert_same(case.logits(save_and_load(model)), after, EXACT, "logits of the resized model after loading")


def attentions_agree(case: Case) -> None:
    """Every attention implementation that does not refuse the configuration gives the logits of eager."""
    model = case.double_model()
    tokens, mask = case.pad("left")
    found = {}
    for name in ("eager", "eager_blockwise", "sdpa", "sdpa_sliding_window"):
        try:
            model.set_attn_implementation(name)
        except ValueError as error:
            check_names_field(error, case.fields)
            continue
        padded = case.logits(model, tokens, attention_mask=mask)
        padded = padded if case.is_seq2seq else padded[mask.bool()]
        found[name] = (padded, case.logits(model))
    for name, logits in found.items():
        for part, wanted, what in zip(logits, found["eager"], ("padded", "whole"), strict=True):
            assert_same(part, wanted, EXACT, f"{name} against eager, {what} rows")


def heads_ignore_padding(case: Case) -> None:
    """Every head gives finite outputs and gradients, and the vector of a sequence does not depend on padding."""
    case.require_fixed_frequencies()
    for head in case.task_heads():
        model, rows = case.double_model(head), case.rows_with_eos()
        outputs = {}
        if "MultipleChoice" not in head.__name__:
            # the mask, since padding may have the id of the last word
            outputs["alone"] = model(rows[0], attention_mask=torch.ones_like(rows[0]), return_dict=True)
        # an encoder-decoder's head shifts the source into the decoder, padding and all
        for side in ("right",) if case.is_seq2seq else ("left", "right"):
            tokens, mask = case.pad(side, rows)
            if "MultipleChoice" in head.__name__:
                tokens, mask = tokens[None], mask[None]
            outputs[side] = model(tokens, attention_mask=mask, return_dict=True)
        name = next(name for name in ("pooler_output", "logits", "start_logits") if name in outputs["right"])
        for side, output in outputs.items():
            assert torch.isfinite(output[name]).all(), f"{head.__name__}: {name} of {side} rows"
            if "SequenceClassification" in head.__name__ or "TextEmbedding" in head.__name__:
                what = f"{head.__name__}: {name}, {side}-padded"
                assert_same(output[name][:1], outputs["alone"][name], EXACT, what)
        outputs["right"][name].square().mean().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters()), head.__name__


def word_vectors_equal_ids(case: Case) -> None:
    """Logits of the vectors that the word table gives for ids are those of the ids."""
    model = case.double_model()
    vectors = model.get_input_embeddings()(case.tokens).detach()
    inputs = {"decoder_input_ids": case.target} if case.is_seq2seq else {}
    with torch.no_grad():
        found = model(inputs_embeds=vectors, return_dict=True, **inputs).logits
    assert_same(found, case.logits(model, target=case.target if case.is_seq2seq else None), EXACT, "logits of vectors")


def recording_changes_nothing(case: Case) -> None:
    """Logits are the same while hidden states and attention weights are recorded, one for each layer."""
    model = case.double_model()
    model.set_attn_implementation("eager")
    tokens, mask = case.pad("right")
    wanted = case.logits(model, tokens, attention_mask=mask)
    inputs = {"decoder_input_ids": case.target[:1].expand(2, -1)} if case.is_seq2seq else {}
    flags = {"output_hidden_states": True, "output_attentions": True, "return_dict": True}
    with torch.no_grad():
        outputs = model(tokens, attention_mask=mask, **inputs, **flags)
    found = outputs.logits
    if not case.is_seq2seq:
        found, wanted = found[mask.bool()], wanted[mask.bool()]
    assert_same(found, wanted, EXACT, "logits while recording")
    prefix, depth = ("decoder_", case.config.decoder_layers) if case.is_seq2seq else ("", case.config.num_hidden_layers)
    recorded = len(outputs[f"{prefix}hidden_states"]), len(outputs[f"{prefix}attentions"])
    assert recorded == (depth + 1, depth), f"{recorded} hidden states and attentions of {depth} layers"


def inspection_adds_up(case: Case) -> None:
    """A recording is the model's own run; rows of attention, the stream, the last tap of the lens, and the parts of a
    logit add up. Of odd values only legal ones, since what is larger by 1e30 adds up to nothing."""
    if not case.is_legal:
        raise NotApplicable("odd values")
    model = case.double_model()
    model.set_attn_implementation("eager")
    inputs = {"input_ids": case.tokens[:1], **({"decoder_input_ids": case.target[:1]} if case.is_seq2seq else {})}
    recording = record(model, inputs)[0]
    with torch.no_grad():
        assert_same(recording.output.logits, model(**inputs, return_dict=True).logits, EXACT, "recorded logits")
    for stack in recording.stacks.values():
        assert stream_growth(recording, stack).gap < EXACT, "the stream does not add up"
        for call in stack.attentions:
            assert_same(call.weights.sum(-1) + call.missing(), torch.ones_like(call.missing()), EXACT, "rows")
            assert not call.weights[:, ~call.visible].any(), "a hidden key has weight"
    assert logit_lens(recording)[1] == 0.0, "the last tap of the lens is not the model's answer"
    logits = recording.output.logits[0]
    prediction, label = divmod(int(logits.abs().argmax()), logits.shape[-1])
    found = attribution(recording, prediction, label)
    assert found.gap <= EXACT * max(1.0, abs(found.logit)), f"parts miss {found.logit} by {found.gap}"


def trains_in_bfloat16(case: Case) -> None:
    """Weights in bfloat16: finite loss and gradients, the loss near that of float32."""
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model, batch = case.model().to(dtype), case.padded_batch()
        losses[dtype] = model(**batch, return_dict=True).loss
        losses[dtype].backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters()), f"gradients in {dtype}"
    assert_same(losses[torch.bfloat16], losses[torch.float32], 0.1, "loss in bfloat16")


PROPERTIES: dict[str, Callable[[Case], None]] = {
    function.__name__: function
    for function in (
        trains, loads_as_saved, generates, padding_is_inert, packed_documents_are_apart, chunks_equal_the_whole,
        no_token_sees_later_ones, fused_loss_equals_plain, checkpointed_gradients_are_equal,
        accumulated_steps_equal_one, resizes, attentions_agree, heads_ignore_padding, word_vectors_equal_ids,
        recording_changes_nothing, inspection_adds_up, trains_in_bfloat16,
    )
}  # fmt: skip
DECODING = {"generates", "chunks_equal_the_whole", "no_token_sees_later_ones"}


def properties_of(architecture: str) -> list[str]:
    """Names of the properties that the architecture can have."""
    return [name for name in PROPERTIES if architecture != "encoder" or name not in DECODING]
