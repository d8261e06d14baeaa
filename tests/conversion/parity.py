"""Checks that a native model and ours give equal outputs, gradients and texts on every kind of batch that both read."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hf_tfm.conversion import from_native, to_native
from hf_tfm.conversion.convert import fields_from_tensors, native_prefix, our_prefix
from hf_tfm.conversion.registry import FAMILIES
from hf_tfm.conversion.weight_map import resolve
from tests.conversion.tiny import Case, padded_batch, positions_from_mask, random_tokens, tiny_native

OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output")
SEQUENCE_HEADS = ("sequence-classification", "multiple-choice")
GENERATING_HEADS = ("causal-lm", "seq2seq-lm")
Batch = dict[str, Any]


def check_parity(family: str, case: Case, head: str) -> dict[str, Any]:
    """Converts a tiny native model to ours and back, and asserts that all three are equal. Returns the measurement for
    `parity_results.json`."""
    native = tiny_native(family, case, head)
    ours = from_native(native, verify=False)  # compared below, on more batches
    ours.set_attn_implementation("eager")

    float32_difference = max_output_difference(native, ours, case, head)
    assert float32_difference <= 1e-5
    compare_text = head in GENERATING_HEADS and case.generate
    if compare_text:
        for num_beams in (1, 3):
            assert generated_ids(native, head, num_beams, case.use_cache) == generated_ids(ours, head, num_beams)

    back = to_native(ours, verify=False)
    assert type(back) is type(native)
    exact = check_round_trip(native, back, head, case.unread)
    if case.sdpa:
        native.set_attn_implementation("sdpa")
        ours.set_attn_implementation("sdpa")
        assert max_output_difference(native, ours, case, head) <= 1e-5
        native.set_attn_implementation("eager")
        ours.set_attn_implementation("eager")

    for model in (native, ours):
        model.set_experts_implementation("eager")  # the grouped kernel has no float64
        model.double()
    with Float64Everywhere():
        assert max_output_difference(native, ours, case, head) <= float64_tolerance(ours.config)
        assert max_gradient_difference(native, ours, case, head) <= 1e-4
    return {
        "family": family, "head": head, "exact": exact, "max_difference": float32_difference,
        "text_equal": True if compare_text else None,
    }  # fmt: skip


def check_round_trip(native: Any, back: Any, head: str, unread: tuple[str, ...]) -> bool:
    """Asserts that every native weight that is read came back within 1e-6. Returns whether all came back bit by bit,
    which only families whose weights need float32 may fail."""
    before, after = native.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    names = FAMILIES[native.config.model_type].read_weights(head, before) - set(unread)
    for name in names:
        assert torch.allclose(before[name], after[name], rtol=0, atol=1e-6), name
    exact = all(torch.equal(before[name], after[name]) for name in names)
    assert exact or FAMILIES[native.config.model_type].needs_float32
    return exact


def float64_tolerance(config: Any) -> float:
    """1e-10, or 1e-6 for positions whose tables the native classes compute in float32."""
    return 1e-6 if config.position_type in ("rotary", "sinusoidal", "alibi") else 1e-10


class Float64Everywhere(TorchFunctionMode):
    """Keeps float64 where a class casts to float32 (scores, softmax, norms), and makes it the default dtype."""

    def __enter__(self) -> Any:
        self.default_dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_default_dtype(self.default_dtype)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], Tensor) and args[0].dtype == torch.float64:
            if func is Tensor.float:
                return args[0]
            args = [torch.float64 if value is torch.float32 else value for value in args]
            kwargs = {name: torch.float64 if value is torch.float32 else value for name, value in kwargs.items()}
        return func(*args, **kwargs)


# Batches


class BatchPair(NamedTuple):
    """The same batch for the native model and for ours. `mask`: the positions to compare; None means all."""

    native: Batch
    ours: Batch
    mask: Tensor | None


def make_batches(native: Any, case: Case, head: str) -> dict[str, BatchPair]:
    """One pair for each kind of batch that the case allows."""
    config = native.config
    unpadded = {"input_ids": padded_batch(config)["input_ids"][:1]}
    right, left = padded_batch(config), padded_batch(config, "left")
    pairs = {
        "no mask": BatchPair(unpadded, unpadded, None),
        "right padding": BatchPair(right, right, right["attention_mask"]),
    }
    # a native decoder that reads the source starts in the left padding, ours at the first real token
    reads_source = config.is_encoder_decoder and head == "question-answering"
    if case.left_padding and head not in SEQUENCE_HEADS and not reads_source:
        native_left = dict(left)
        if case.position_ids:
            native_left["position_ids"] = positions_from_mask(left["attention_mask"])
        pairs["left padding"] = BatchPair(native_left, left, left["attention_mask"])
    is_decoder = FAMILIES[config.model_type].our_model_type == "tfm_decoder"
    if case.packed and case.position_ids and is_decoder and head not in SEQUENCE_HEADS:
        restarting_positions = torch.cat((torch.arange(5), torch.arange(8)))[None].expand(2, -1)
        packed = {"input_ids": random_tokens(config, 2, 13, seed=3), "position_ids": restarting_positions}
        pairs["packed rows"] = BatchPair(packed | {"use_cache": False}, packed, None)
    return {
        kind: BatchPair(for_head(pair.native, native, head), for_head(pair.ours, native, head), pair.mask)
        for kind, pair in pairs.items()
    }


def for_head(batch: Batch, model: Any, head: str) -> Batch:
    """The batch with what the head needs: a dimension of choices, or inputs of the decoder."""
    if head == "multiple-choice":
        batch = {name: value[:, None] for name, value in batch.items()}
    if model.config.is_encoder_decoder and head in ("base", "seq2seq-lm"):
        decoder_input_ids = random_tokens(model.config, len(batch["input_ids"]), 7, seed=5)
        batch = batch | {"decoder_input_ids": decoder_input_ids}
    return batch


# Comparisons


def output_pairs(native: Any, ours: Any, batches: BatchPair, head: str) -> list[tuple[Tensor, Tensor]]:
    """Native outputs and ours, at the positions to compare. Native poolers read column 0 even if it is padding, ours do
    not."""
    mask = batches.mask
    native_outputs, our_outputs = native(**batches.native), ours(**batches.ours)
    pairs = []
    for name in OUTPUTS if mask is None or mask[:, 0].all() else OUTPUTS[:-1]:
        a, b = native_outputs.get(name), our_outputs.get(name)
        if a is None or b is None:
            continue
        is_per_token = head not in SEQUENCE_HEADS and name != "pooler_output"
        if mask is not None and is_per_token and a.shape[:2] == mask.shape:
            a, b = a[mask.bool()], b[mask.bool()]
        pairs.append((a, b))
    assert pairs, "no output to compare"
    return pairs


def relative_difference(native: Tensor, ours: Tensor) -> float:
    assert native.shape == ours.shape, (native.shape, ours.shape)
    difference = ((native - ours).abs().max() / native.abs().max()).item()
    assert math.isfinite(difference)
    return difference


@torch.no_grad()
def max_output_difference(native: Any, ours: Any, case: Case, head: str) -> float:
    """The largest relative difference over every kind of batch."""
    return max(
        relative_difference(a, b)
        for batches in make_batches(native, case, head).values()
        for a, b in output_pairs(native, ours, batches, head)
    )


def max_gradient_difference(native: Any, ours: Any, case: Case, head: str) -> float:
    """The largest difference of the gradient of any weight, relative to the largest gradient of this weight."""
    batches = make_batches(native, case, head)["right padding"]
    for model, index in ((native, 0), (ours, 1)):
        model.zero_grad()
        pairs = output_pairs(native, ours, batches, head)
        generator = torch.Generator().manual_seed(5)
        sum((pair[index] * torch.randn(pair[index].shape, generator=generator)).sum() for pair in pairs).backward()
    expected = native_gradients(native, ours, head)
    largest = 0.0
    for name, parameter in ours.named_parameters(remove_duplicate=False):
        if name not in expected or not parameter.requires_grad:
            continue
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        scale = expected[name].abs().max().item()
        difference = (gradient - expected[name]).abs().max().item()
        assert math.isfinite(difference), name
        largest = max(largest, difference / max(scale, 1e-3))
    return largest


def native_gradients(native: Any, ours: Any, head: str) -> dict[str, Tensor]:
    """Native gradients under our names, by the rules of the weight map. A transform adds at most a constant, so that
    transform(weight + gradient) - transform(weight) is the transformed gradient."""
    family = FAMILIES[native.config.model_type]
    weights = dict(native.state_dict())
    parameters = dict(native.named_parameters(remove_duplicate=False))
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    config = family.config_to_ours(native.config, head, fields_from_tensors(native, head))
    weight_map = family.weight_map(head, native_prefix(weights, native), our_prefix(head))
    result = {}
    for rule in resolve(weight_map, family.read_weights(head, weights), set(ours.state_dict()), config):
        if not rule.native or not all(name in gradients or name in parameters for name in rule.native):
            continue
        before = [weights[name] for name in rule.native]
        after = [w + gradients.get(name, torch.zeros_like(w)) for name, w in zip(rule.native, before, strict=True)]
        transformed = [rule.transform.to_ours(tensors, config) for tensors in (before, after)]
        differences = [b - a for a, b in zip(*transformed, strict=True)]
        copies = len(rule.ours) if rule.transform.allows_missing else 1
        result.update(zip(rule.ours, differences * copies, strict=False))
    return result


@torch.no_grad()
def generated_ids(model: Any, head: str, num_beams: int, use_cache: bool = True) -> list[list[int]]:
    """Generated token ids of a batch that is padded on the left, or on the right for an encoder."""
    batch = padded_batch(model.config, "right" if model.config.is_encoder_decoder else "left", seed=7)
    pad = model.config.pad_token_id
    return model.generate(
        **batch, max_new_tokens=12, do_sample=False, num_beams=num_beams, pad_token_id=pad, use_cache=use_cache
    ).tolist()
