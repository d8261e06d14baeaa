"""Weights laid out in memory for writing text on a CPU, one prompt at a time. Names, shapes and saved files stay."""

from typing import Any

import torch
from torch import nn

__all__ = ["store_columns"]


def store_columns(model: Any) -> Any:
    """Store the weight (out, in) of every linear map that is at least as wide as its input column by column, in place;
    returns the model.

    A step of decoding is a product of each weight with one vector, as slow as memory is read, and libraries of matrix
    products read columns faster. Several prompts at a time, and training, gain nothing; saving stores rows again.
    Raises ValueError for weights that are not in float32 on a CPU: other kernels have their own wishes."""
    maps = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features >= part.in_features]
    for weight in {id(part.weight): part.weight for part in maps}.values():
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            raise ValueError(f"Columns are stored of float32 weights on a CPU, not {weight.dtype} on {weight.device}.")
        weight.data = weight.data.t().contiguous().t()
    return model
