"""Activations of transformers, some of which have parameters of their own."""

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2CLS, ACT2FN


def make_activation(name: str) -> nn.Module:
    """A new activation, its weights in the default dtype: xielu's would stay in bfloat16 until they are loaded."""
    return ACT2FN[name].to(torch.get_default_dtype())


def has_parameters(activation: nn.Module) -> bool:
    return next(activation.parameters(), None) is not None


def reset_activation(activation: nn.Module) -> None:
    """Sets parameters and buffers that hold no loaded values to what the constructor gives, on any device."""
    tensors = {**dict(activation.named_parameters()), **dict(activation.named_buffers())}
    if not tensors:
        return
    with torch.device("cpu"):
        fresh = type(activation)()
    for name, tensor in tensors.items():
        init.copy_(tensor, fresh.get_parameter(name) if name in fresh._parameters else fresh.get_buffer(name))


# classes that `reset_activation` initialises
ACTIVATIONS = {entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()}
