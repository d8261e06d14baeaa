"""oneDNN's matrix products instead of MKL's, for inference in float32 on a CPU. Weights, names and files stay.

torch hands float32 products to MKL, which is tuned for one vendor's processors; oneDNN, which torch brings too and uses
for bf16, reads weights up to twice as fast elsewhere where there are few rows, as in writing text."""

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.library import Library, register_fake

from .modeling.head_parts import LMHead

__all__ = ["use_onednn"]

# an operation of its own, since torch.compile takes torch's for weights that are constants of a graph
LIBRARY = Library("hf_tfm", "DEF")
LIBRARY.define("onednn_linear(Tensor states, Tensor weight, Tensor? bias) -> Tensor")


def product(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """states (..., I), weight (O, I), bias (O,) or None -> (..., O)."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def shape_of_product(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return states.new_empty((*states.shape[:-1], weight.shape[0]))


LIBRARY.impl("onednn_linear", product, "CPU")
register_fake("hf_tfm::onednn_linear", shape_of_product, lib=LIBRARY)


class OneDnn:
    """Before the class of a linear map: by oneDNN where no gradient is wanted and autocast is off; elsewhere, and where
    a map to the vocabulary is given labels, the map that it was."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, states: torch.Tensor, *wishes: Any, **named_wishes: Any) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or wishes or named_wishes:
            return super().forward(states, *wishes, **named_wishes)  # pyright: ignore[reportAttributeAccessIssue]
        return torch.ops.hf_tfm.cpu_inference_linear(states, self.weight, self.bias)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # pickles find classes by name, and this one is made on the fly
        return remade, (type(self).__mro__[2],), self.__dict__


@cache
def by_onednn(kind: type) -> type:
    """The class of linear maps with oneDNN's product."""
    return type(f"OneDnn{kind.__name__}", (OneDnn, kind), {})


def remade(kind: type) -> Any:
    """An empty map, for its state to be set."""
    return object.__new__(by_onednn(kind))


def is_plain(part: nn.Module) -> bool:
    """Whether the part is torch's linear map, or our map to the vocabulary, also of code that travelled with a
    checkpoint. Other classes have products of their own: adapters, quantised weights."""
    return type(part) is nn.Linear or (isinstance(part, nn.Linear) and type(part).__name__ == LMHead.__name__)


def use_onednn(model: Any) -> Any:
    """Let every plain linear map of the model, ours or a native one, compute with oneDNN, in place; returns the model.

    Whether that is sooner depends on the processor: `hf-tfm bench generate --onednn` tells. Training is as before.
    Raises ValueError for weights that are not in float32 on a CPU, and where torch has no oneDNN."""
    if not torch.backends.mkldnn.is_available():
        raise ValueError("This torch was built without oneDNN: leave use_onednn out, all works as before.")
    maps = [part for part in model.modules() if is_plain(part)]
    for part in maps:
        if part.weight.device.type != "cpu" or part.weight.dtype != torch.float32:
            raise ValueError(
                f"oneDNN is chosen for float32 weights on a CPU, not {part.weight.dtype} on {part.weight.device}: "
                "torch uses it for bf16 by itself."
            )
    for part in maps:
        part.__class__ = by_onednn(type(part))
    return model
