"""What stands in a seat where nothing is configured: a plain function, since calling a module costs as much as a small
sum, and a block has a dozen of such seats."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def unchanged(given: Any) -> Any:
    """The identity."""
    return given


def make_dropout(probability: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Dropout, or nothing where the probability is 0."""
    return nn.Dropout(probability) if probability else unchanged
