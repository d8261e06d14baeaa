"""CPU inference: oneDNN's matrix products instead of MKL's, in float32. Weights, names and files stay as they are.

torch computes float32 products with MKL, which is tuned for one vendor's processors; oneDNN, which torch contains too
and uses for bf16, reads weights up to twice as fast on others where there are few rows, as in generation."""

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.library import Library, register_fake

from .modeling.head_parts import LMHead

__all__ = ["use_onednn"]

# an operator of our own, since torch.compile uses torch's for constant weights only
LIBRARY = Library("hf_tfm", "DEF")
LIBRARY.define("onednn_linear(Tensor states, Tensor weight, Tensor? bias) -> Tensor")


def onednn_linear(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """states (..., I), weight (O, I), bias (O,) or None -> (..., O)."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def onednn_linear_shape(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return states.new_empty((*states.shape[:-1], weight.shape[0]))


LIBRARY.impl("onednn_linear", onednn_linear, "CPU")
register_fake("hf_tfm::onednn_linear", onednn_linear_shape, lib=LIBRARY)


class OneDnnLinear:
    """Mixin before the class of a linear map: computes with oneDNN without gradients and autocast; otherwise, and for
    an LM head that is given labels, with the class's own forward."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or args or kwargs:
            return super().forward(states, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        return torch.ops.hf_tfm.onednn_linear(states, self.weight, self.bias)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # pickle finds classes by name, and this one is made at run time
        return new_onednn_linear, (type(self).__mro__[2],), self.__dict__


@cache
def onednn_class(kind: type) -> type:
    """The class of linear maps with oneDNN's product."""
    return type(f"OneDnn{kind.__name__}", (OneDnnLinear, kind), {})


def new_onednn_linear(kind: type) -> Any:
    """An empty map, whose state pickle sets."""
    return object.__new__(onednn_class(kind))


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module is torch's linear map, or an LM head of ours, also of code that came with a checkpoint. Other
    classes have products of their own: adapters, quantised weights."""
    return type(module) is nn.Linear or (isinstance(module, nn.Linear) and type(module).__name__ == LMHead.__name__)


def use_onednn(model: Any) -> Any:
    """Let every plain linear map of a model, ours or a native one, compute with oneDNN, in place; returns the model.

    Whether that is faster depends on the processor: measure it with `hf-tfm bench generate --onednn`. Training does not
    change. Raises ValueError for weights that are not float32 on a CPU, and where torch has no oneDNN."""
    if not torch.backends.mkldnn.is_available():
        raise ValueError("This torch was built without oneDNN: leave use_onednn out, everything works as before.")
    linear_maps = [module for module in model.modules() if is_plain_linear(module)]
    for module in linear_maps:
        if module.weight.device.type != "cpu" or module.weight.dtype != torch.float32:
            raise ValueError(
                f"use_onednn needs float32 weights on a CPU, not {module.weight.dtype} on {module.weight.device}: for "
                "bf16 torch uses oneDNN by itself."
            )
    for module in linear_maps:
        module.__class__ = onednn_class(type(module))
    return model
