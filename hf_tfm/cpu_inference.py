"""CPU inference: oneDNN's matrix products instead of MKL's, in float32, or those of 8-bit integers. Weights, names and
files stay as they are.

torch computes float32 products with MKL, which is tuned for one vendor's processors; oneDNN, which torch contains too
and uses for bf16, reads weights up to twice as fast on others where there are few rows, as in generation.

Products of 8-bit integers are about three times as fast as both. Each column of the result has its own scale of
weights, each row its own scale of inputs, as in LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339: one scale for all
rows serves the largest of them, and loses digits of all others."""

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.library import Library, register_fake
from transformers import PreTrainedModel

from .modeling.head_parts import LMHead

__all__ = ["use_int8", "use_onednn"]

# torch's engine for products of integers on x86
FBGEMM = "fbgemm"

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


class OtherProduct:
    """Mixin before the class of a linear map: computes with `product` without gradients and autocast; otherwise, and
    for an LM head that is given labels, with the class's own forward."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def forward(self, states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or args or kwargs:
            return super().forward(states, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        return self.product(states)

    def product(self, states: torch.Tensor) -> torch.Tensor:
        """States (..., I) -> (..., O)."""
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        # pickle finds classes by name, and this one is made at run time
        state = {name: value for name, value in self.__dict__.items() if name != "packed"}
        return new_linear, type(self).__bases__, state


class OneDnnLinear(OtherProduct):
    """Products of float32 by oneDNN."""

    def product(self, states: torch.Tensor) -> torch.Tensor:
        return torch.ops.hf_tfm.onednn_linear(states, self.weight, self.bias)


class Int8Linear(OtherProduct):
    """Products of 8-bit integers by FBGEMM. Rows of states are divided by their largest value, so that FBGEMM's one
    scale serves all of them. The float32 weight stays, and is packed again after it has changed."""

    packed: tuple[Any, Any] | None = None  # what the weight was, and its integers with one scale for each output

    def product(self, states: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            # graphs cannot hold packed weights
            return nn.functional.linear(states, self.weight, self.bias)
        largest = states.abs().amax(-1, keepdim=True).clamp_min_(torch.finfo(states.dtype).tiny)
        outputs = torch.ops.quantized.linear_dynamic(states / largest, self.packed_weight(), not has_int8_units())
        return outputs.mul_(largest) if self.bias is None else torch.addcmul(self.bias, outputs, largest, out=outputs)

    def packed_weight(self) -> Any:
        weight = self.weight
        version = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if self.packed is None or self.packed[0] != version:
            self.packed = version, pack_int8(weight.detach())
        return self.packed[1]


@cache
def has_int8_units() -> bool:
    """Whether the processor adds products of integers in 32 bits. Others do in 16, which overflow unless states have 7
    bits."""
    return torch.cpu._is_vnni_supported()


def pack_int8(weight: torch.Tensor) -> Any:
    """FBGEMM's form of a weight (O, I) in integers from -127 to 127, with one scale for each output."""
    scales = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny).double() / 127
    engine = torch.backends.quantized.engine
    with warnings.catch_warnings():
        # torch announces that it will remove tensors of integers with scales; the products stay
        warnings.simplefilter("ignore", UserWarning)
        integers = torch.quantize_per_channel(
            weight, scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8
        )
    try:
        torch.backends.quantized.engine = FBGEMM
        return torch.ops.quantized.linear_prepack(integers, None)
    finally:
        torch.backends.quantized.engine = engine


@cache
def class_with_product(mixin: type, kind: type) -> type:
    """The class of linear maps `kind` with the product of a mixin."""
    return type(f"{mixin.__name__.removesuffix('Linear')}{kind.__name__}", (mixin, kind), {})


def new_linear(mixin: type, kind: type) -> Any:
    """An empty map, whose state pickle sets."""
    return object.__new__(class_with_product(mixin, kind))


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
    return replace_products(model, linear_maps, OneDnnLinear, "use_onednn", "for bf16 torch uses oneDNN by itself")


def use_int8(model: Any) -> Any:
    """Let every linear map of a model, ours or a native one, compute with 8-bit integers, in place; returns the model.
    The LM head stays in float32, and so does all that is compiled, trained or run under autocast.

    Outputs differ a little: measure the loss on your task. Weights take a quarter more memory. Raises ValueError for
    weights that are not float32 on a CPU, for models without plain linear maps, and where torch has no FBGEMM, which
    needs an x86 processor."""
    if FBGEMM not in torch.backends.quantized.supported_engines:
        raise ValueError("This torch has no FBGEMM, which needs an x86 processor: leave use_int8 out, or use bf16.")
    heads = {part.get_output_embeddings() for part in model.modules() if isinstance(part, PreTrainedModel)}
    linear_maps = [module for module in model.modules() if type(module) is nn.Linear and module not in heads]
    if not linear_maps:
        raise ValueError(f"use_int8 finds no plain linear map in {type(model).__name__}: call it first, and only once.")
    return replace_products(model, linear_maps, Int8Linear, "use_int8", "in bf16 use the model as it is")


def replace_products(model: Any, linear_maps: list[Any], mixin: type, name: str, advice: str) -> Any:
    """Give all linear maps the product of a mixin, or raise ValueError and change none."""
    for module in linear_maps:
        if module.weight.device.type != "cpu" or module.weight.dtype != torch.float32:
            raise ValueError(
                f"{name} needs float32 weights on a CPU, not {module.weight.dtype} on {module.weight.device}: {advice}."
            )
    for module in linear_maps:
        module.__class__ = class_with_product(mixin, type(module))
    return model
