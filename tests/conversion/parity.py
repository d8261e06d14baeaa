"""What equal numbers mean: a native model and ours, side by side, on every kind of batch that both can read."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hf_tfm.conversion.convert import found_words, our_prefix, prefix_of
from hf_tfm.conversion.families import FAMILIES
from hf_tfm.conversion.rows import match
from tests.conversion.tiny import Case, padded, positions, words

OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output")
PER_ROW = ("sequence-classification", "multiple-choice")
Batch = dict[str, Any]


class Wide(TorchFunctionMode):
    """Float64 stays float64 where a class asks for float32 (scores, softmax, norms), and is what it gets unasked."""

    def __enter__(self) -> Any:
        self.narrow = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_default_dtype(self.narrow)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is Tensor.float:
                return args[0]
            args = [torch.float64 if value is torch.float32 else value for value in args]
            kwargs = {name: torch.float64 if value is torch.float32 else value for name, value in kwargs.items()}
        return func(*args, **kwargs)


def relative(native: Tensor, ours: Tensor) -> float:
    assert native.shape == ours.shape, (native.shape, ours.shape)
    difference = ((native - ours).abs().max() / native.abs().max()).item()
    assert math.isfinite(difference)
    return difference


def shaped(batch: Batch, head: str) -> Batch:
    """A batch as the head reads it: choices are a dimension of their own."""
    return {name: value[:, None] for name, value in batch.items()} if head == "multiple-choice" else batch


def with_decoder(batch: Batch, model: Any, head: str) -> Batch:
    """A batch with inputs of the decoder, where the head has no other way to them."""
    if model.config.is_encoder_decoder and head in ("base", "seq2seq-lm"):
        ids = words(model.config, len(batch["input_ids"]), 7, seed=5)
        return batch | {"decoder_input_ids": ids}
    return batch


def batches(native: Any, case: Case, head: str) -> dict[str, tuple[Batch, Batch, Tensor | None]]:
    """For each kind of batch: what the native model is given, what ours is, and the positions that count, or None."""
    config = native.config
    plain = {"input_ids": padded(config)["input_ids"][:1]}
    right, left = padded(config), padded(config, "left")
    kinds = {"no mask": (plain, plain, None), "right padding": (right, right, right["attention_mask"])}
    decoder_only = not config.is_encoder_decoder and head != "multiple-choice"
    if case.left and head not in PER_ROW:
        said = left | ({"position_ids": positions(left["attention_mask"])} if case.positions else {})
        kinds["left padding"] = (said, left, left["attention_mask"])
    if case.packed and case.positions and decoder_only and FAMILIES[config.model_type].architecture == "tfm_decoder":
        ids = words(config, 2, 13, seed=3)
        restart = torch.cat((torch.arange(5), torch.arange(8)))[None].expand(2, -1)
        packed = {"input_ids": ids, "position_ids": restart}
        if head not in PER_ROW:
            kinds["packed rows"] = (packed | {"use_cache": False}, packed, None)
    return {
        kind: (with_decoder(shaped(a, head), native, head), with_decoder(shaped(b, head), native, head), mask)
        for kind, (a, b, mask) in kinds.items()
    }


def outputs(
    native: Any, ours: Any, first: Batch, second: Batch, mask: Tensor | None, head: str
) -> list[tuple[Tensor, Tensor]]:
    """Pairs of outputs, at the positions that count. Native poolers read column 0 padding or not; ours do not."""
    theirs, mine = native(**first), ours(**second)
    pairs = []
    for name in OUTPUTS if mask is None or mask[:, 0].all() else OUTPUTS[:-1]:
        a, b = theirs.get(name), mine.get(name)
        if a is None or b is None:
            continue
        per_token = mask is not None and a.shape[:2] == mask.shape and head not in PER_ROW and name != "pooler_output"
        chosen = mask.bool() if per_token and mask is not None else slice(None)
        pairs.append((a[chosen], b[chosen]))
    assert pairs, "nothing to compare"
    return pairs


def largest_difference(native: Any, ours: Any, case: Case, head: str) -> float:
    """The largest relative difference over every kind of batch."""
    worst = 0.0
    with torch.no_grad():
        for first, second, mask in batches(native, case, head).values():
            for a, b in outputs(native, ours, first, second, mask, head):
                worst = max(worst, relative(a, b))
    return worst


def gradient_difference(native: Any, ours: Any, case: Case, head: str) -> float:
    """The largest difference of any weight's gradient, relative to the largest of that weight. Native gradients come to
    our names by the same rows. These add constants at most, so the change of w + g less that of w is that of g."""
    first, second, mask = batches(native, case, head)["right padding"]
    for model, index in ((native, 0), (ours, 1)):
        model.zero_grad()
        pairs = outputs(native, ours, first, second, mask, head)
        generator = torch.Generator().manual_seed(5)
        sum((pair[index] * torch.randn(pair[index].shape, generator=generator)).sum() for pair in pairs).backward()
    expected = carried(native, ours, head)
    worst = 0.0
    for name, parameter in ours.named_parameters(remove_duplicate=False):
        if name not in expected or not parameter.requires_grad:
            continue
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        size = expected[name].abs().max().item()
        difference = (found - expected[name]).abs().max().item()
        assert math.isfinite(difference), name
        worst = max(worst, difference / max(size, 1e-3))
    return worst


def carried(native: Any, ours: Any, head: str) -> dict[str, Tensor]:
    """Native gradients under our names, of the weights that have one."""
    family = FAMILIES[native.config.model_type]
    weights = dict(native.state_dict())
    parameters = dict(native.named_parameters(remove_duplicate=False))
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    config = family.our_config(native.config, head, found_words(native, head))
    moves = match(
        family.rows(head, prefix_of(weights, native), our_prefix(head)),
        set(weights), set(ours.state_dict()), config,
    )  # fmt: skip
    result = {}
    for move in moves:
        if not move.native or not all(name in gradients or name in parameters for name in move.native):
            continue
        before = [weights[name] for name in move.native]
        after = [w + gradients.get(name, torch.zeros_like(w)) for name, w in zip(move.native, before, strict=True)]
        changes = [move.change.forward(tensors, config) for tensors in (before, after)]
        differences = [b - a for a, b in zip(*changes, strict=True)]
        result.update(zip(move.ours, differences * (len(move.ours) if move.change.some else 1), strict=False))
    return result


def texts(model: Any, head: str, beams: int) -> list[list[int]]:
    """Generated token ids of a batch that is padded on the left, or on the right for an encoder."""
    batch = padded(model.config, "right" if model.config.is_encoder_decoder else "left", seed=7)
    with torch.no_grad():
        return model.generate(
            **batch, max_new_tokens=12, do_sample=False, num_beams=beams, pad_token_id=model.config.pad_token_id
        ).tolist()
