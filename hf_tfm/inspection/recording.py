"""What happens inside a model for given inputs: the residual stream around every branch, what the attention kernels
get and give, feed-forward activations and the choices of routers.

Legend: B batch, T queries, S keys, H heads, K key-value heads, D head size, C hidden size, I inner size, E experts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..modeling.attention import Attention, eager_attention_forward, output_gate
from ..modeling.block import Residual
from ..modeling.feed_forward import PlainMLP, TfmExperts, TfmRouter
from ..modeling.stack import Stack
from .model_state import hooks, inspected
from .rows import split_rows

__all__ = ["AttentionCall", "Branch", "Recording", "StackRecording", "record", "stacked", "stacks_of", "to_array"]

RECORDED_EAGER = "eager_recorded"
# branch of a block -> (name of the tap after it, kind of attention)
BRANCHES = {"self_attn": "attention", "cross_attn": "cross-attention", "mlp": "feed-forward"}
AttentionMaskInterface.register(RECORDED_EAGER, eager_mask)


def to_array(values: torch.Tensor) -> np.ndarray:
    """On the CPU; numpy has no bfloat16, and float32 holds its values."""
    values = values.detach().cpu()
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()


def stacked(values: list[torch.Tensor]) -> np.ndarray:
    """The same for tensors of one shape, along a new first dimension."""
    return to_array(torch.stack(values))


@dataclass
class AttentionCall:
    """One attention: `query` (H, T, D), `key` and `value` (K, S, D) as the kernel gets them, `weights` (H, T, S) that
    it gives, `outputs` (H, T, D) of the heads before `o_proj`. `scaling` multiplies scores, `softcap` bounds them, then
    `bias` (H, T, S) and the mask are added; `visible` (T, S): what the mask lets through. `sinks` (H,): learned logits
    of one more column. `gate` (H, T, 1 or D): what multiplies the outputs, as they stand here; None without a gate."""

    layer: int
    kind: str  # "self" or "cross"
    module: Attention
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    weights: torch.Tensor
    outputs: torch.Tensor
    visible: torch.Tensor
    scaling: float
    softcap: float | None
    bias: torch.Tensor | None
    sinks: torch.Tensor | None
    gate: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """The value of each query head (H, S, D): grouped heads share theirs."""
        return repeat_kv(self.value[None], self.module.num_key_value_groups)[0]

    def missing(self) -> torch.Tensor:
        """What a learned sink takes of each row (H, T); zeros without one."""
        if self.sinks is None:
            return torch.zeros_like(self.weights[..., 0])
        return (1 - self.weights.sum(-1)).clamp(min=0)


@dataclass
class Branch:
    """One branch of a block: the stream `before` and `after` it (T, C), and its `output` (T, C), which `residual` adds.
    `tap`: name of the stream after it, counted from 1: "3 attention"."""

    tap: str
    layer: int
    name: str  # "self_attn", "cross_attn" or "mlp"
    residual: Residual
    before: torch.Tensor
    output: torch.Tensor
    after: torch.Tensor


@dataclass
class StackRecording:
    """One stack: `ids` (T,) that it reads, None where vectors were given; `embeddings` (T, C), the stream before the
    first block; `last` (T, C), the stream after the final norm. `activations`: layer -> (T, I), what `down_proj` reads;
    `router_logits`: layer -> (T, E); `experts`: layer -> chosen experts (T, k)."""

    name: str
    stack: Any
    ids: torch.Tensor | None = None
    embeddings: Any = None
    branches: list[Branch] = field(default_factory=list)
    attentions: list[AttentionCall] = field(default_factory=list)
    last: Any = None
    activations: dict[int, torch.Tensor] = field(default_factory=dict)
    router_logits: dict[int, torch.Tensor] = field(default_factory=dict)
    experts: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def taps(self) -> list[str]:
        return ["embeddings", *(branch.tap for branch in self.branches)]

    @property
    def stream(self) -> list[torch.Tensor]:
        """The stream (T, C) at each tap."""
        return [self.embeddings, *(branch.after for branch in self.branches)]

    def attentions_of(self, kind: str) -> list[AttentionCall]:
        return [call for call in self.attentions if call.kind == kind]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, such as "3 attention/weights"; layers count from 1."""
        named: dict[str, torch.Tensor] = {"embeddings": self.embeddings, "last": self.last}
        for branch in self.branches:
            named |= {f"{branch.tap}/{name}": getattr(branch, name) for name in ("before", "output", "after")}
        for call in self.attentions:
            tap = f"{call.layer + 1} {BRANCHES[call.kind + '_attn']}"
            named |= {f"{tap}/{name}": getattr(call, name) for name in ("query", "key", "value", "weights", "outputs")}
            named |= {f"{tap}/visible": call.visible, f"{tap}/missing": call.missing()}
        for name in ("activations", "router_logits", "experts"):
            named |= {f"{layer + 1} feed-forward/{name}": value for layer, value in getattr(self, name).items()}
        return {name: to_array(value) for name, value in named.items()}


@dataclass
class Recording:
    """One row of a batch, without padding. `inputs`: keyword arguments of the model for this row alone (1, T);
    `stacks`: "text", or "source" and "target"; `output`: of the model."""

    model: Any
    inputs: dict[str, Any]
    stacks: dict[str, StackRecording]
    output: Any

    @property
    def predicting(self) -> StackRecording:
        """The stack that the head reads."""
        return list(self.stacks.values())[-1]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, such as "target/3 attention/weights"; layers count from 1."""
        return {f"{name}/{key}": value for name, stack in self.stacks.items() for key, value in stack.arrays().items()}


def record(model: Any, inputs: Mapping[str, Any]) -> list[Recording]:
    """One recording for each row of a batch, each run by itself and without its padding, so that a row's numbers
    depend on nothing else. `inputs`: keyword arguments of the model, as a tokenizer gives them.

    The model is left exactly as it was, by an error too. Raises ValueError for inputs that cannot be told apart by
    row; see `split_rows`."""
    return [record_row(model, row) for row in split_rows(model, inputs)]


def record_row(model: Any, inputs: dict[str, Any]) -> Recording:
    stacks = {name: StackRecording(name, stack) for name, stack in stacks_of(model).items()}
    with inspected(model, _attn_implementation=RECORDED_EAGER), recorded_kernel(stacks), recorded_modules(stacks):
        output = model(**inputs, **no_cache(model))
    return Recording(model, inputs, stacks, output)


def no_cache(model: Any) -> dict[str, Any]:
    return {"use_cache": False} if hasattr(model.config, "use_cache") else {}


def stacks_of(model: Any) -> dict[str, Any]:
    """The stacks of a model: "text" of an encoder or a decoder, "source" and "target" of an encoder-decoder."""
    found = [module for module in model.modules() if isinstance(module, Stack)]
    return dict(zip(("text",) if len(found) == 1 else ("source", "target"), found, strict=True))


@contextmanager
def recorded_kernel(stacks: dict[str, StackRecording]) -> Iterator[None]:
    """The attention implementation RECORDED_EAGER: that of `eager`, which keeps what it gets and gives."""
    places = {
        getattr(layer, name): (recording, index, name.removesuffix("_attn"))
        for recording in stacks.values()
        for index, layer in enumerate(recording.stack.layers)
        for name in ("self_attn", "cross_attn")
        if getattr(layer, name) is not None
    }

    def kernel(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **options: Any) -> Any:
        output, weights = eager_attention_forward(module, query, key, value, mask, scaling, **options)
        recording, layer, kind = places[module]
        bias = options.get("position_bias")
        visible = weights.new_ones(weights.shape[-2:], dtype=torch.bool) if mask is None else mask[0, 0] == 0
        recording.attentions.append(
            AttentionCall(
                layer, kind, module, query[0], key[0], value[0], weights[0], output[0].transpose(0, 1), visible,
                scaling, options.get("softcap"), None if bias is None else bias[0], options.get("s_aux"),
            )
        )  # fmt: skip
        return output, weights

    ALL_ATTENTION_FUNCTIONS[RECORDED_EAGER] = kernel
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[RECORDED_EAGER]


@contextmanager
def recorded_modules(stacks: dict[str, StackRecording]) -> Iterator[None]:
    """Hooks that fill the recordings with everything but attention."""
    pairs = [pair for recording in stacks.values() for pair in module_hooks(recording)]
    with hooks(forward=pairs):
        yield


def module_hooks(recording: StackRecording) -> Iterator[tuple[Any, Any]]:
    """(module, forward hook) for the parts of a stack."""

    def keep_ids(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recording.ids = args[0][0]

    def keep_last(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recording.last = output[0]

    yield recording.stack.embed_tokens, keep_ids
    yield recording.stack.norm, keep_last
    for index, layer in enumerate(recording.stack.layers):
        for name in BRANCHES:
            if getattr(layer, name) is not None:
                yield getattr(layer, f"{name}_residual"), branch_hook(recording, index, name)
        for attention in (layer.self_attn, layer.cross_attn):
            if attention is not None and attention.gate_proj is not None:
                yield attention.gate_proj, gate_hook(recording)
        yield from feed_forward_hooks(recording, index, layer.mlp)


def branch_hook(recording: StackRecording, layer: int, name: str) -> Any:
    def keep_branch(residual: Any, args: Any, kwargs: Any, output: Any) -> None:
        before, branch = args
        if recording.embeddings is None:
            recording.embeddings = before[0]
        tap = f"{layer + 1} {BRANCHES[name]}"
        recording.branches.append(Branch(tap, layer, name, residual, before[0], branch[0], output[0]))

    return keep_branch


def gate_hook(recording: StackRecording) -> Any:
    def keep_gate(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        # computed right after the kernel
        call = recording.attentions[-1]
        call.gate = output_gate(output[0], len(call.outputs)).transpose(0, 1)
        call.outputs = call.outputs * call.gate

    return keep_gate


def feed_forward_hooks(recording: StackRecording, layer: int, feed_forward: nn.Module) -> Iterator[tuple[Any, Any]]:
    def keep_activations(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recording.activations[layer] = args[0][0]

    def keep_router(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recording.router_logits[layer] = output[0]

    def keep_experts(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        recording.experts[layer] = args[1]

    if isinstance(feed_forward, PlainMLP):
        yield feed_forward.down_proj, keep_activations
    for module in feed_forward.modules():
        if isinstance(module, TfmRouter):
            yield module, keep_router
        if isinstance(module, TfmExperts):
            yield module, keep_experts
