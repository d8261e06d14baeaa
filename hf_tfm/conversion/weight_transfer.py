"""Transfers tensors between two state dicts without holding any tensor twice."""

from typing import Any

from torch import Tensor, nn
from tqdm.auto import tqdm

from .weight_map import ResolvedRule

__all__ = ["StateDict", "take_state_dict", "transfer_weights"]

StateDict = dict[str, Tensor]
PROGRESS_BAR_FROM = 500  # rules


def take_state_dict(model: nn.Module, copy: bool) -> StateDict:
    """The state dict of a model. Unless `copy`, the model loses its tensors, so that the caller can free them."""
    state = dict(model.state_dict())
    if not copy:
        for module in model.modules():
            module._parameters.clear()
            module._buffers.clear()
    return state


class TensorCopies:
    """Copies of tensors that share no memory with the originals. Several names of one tensor get one copy."""

    def __init__(self, state: StateDict) -> None:
        first_names: dict[int, str] = {}
        self.first_name = {name: first_names.setdefault(tensor.data_ptr(), name) for name, tensor in state.items()}
        self.copies: StateDict = {}

    def of(self, tensor: Tensor, sources: StateDict) -> Tensor:
        """A copy of `tensor`, which a transform made of `sources`, unless it already has memory of its own."""
        for name, source in sources.items():
            if tensor is source:
                name = self.first_name[name]
                if name not in self.copies:
                    self.copies[name] = tensor.clone()
                return self.copies[name]
        source_memory = {source.untyped_storage().data_ptr() for source in sources.values()}
        return tensor.clone() if tensor.untyped_storage().data_ptr() in source_memory else tensor


def transfer_weights(rules: list[ResolvedRule], state: StateDict, config: Any, to_native: bool = False) -> StateDict:
    """Copies of the tensors of `state`, transformed, under the names of the other side.

    `state` is emptied in its own order, which is mostly the order of its files: each tensor is freed before the next
    is read."""
    copies, result = TensorCopies(state), StateDict()
    position = {name: number for number, name in enumerate(state)}
    if to_native:
        transfers = [(rule.ours, rule.native, rule.transform) for rule in rules]
    else:
        transfers = [(rule.native, rule.ours, rule.transform) for rule in rules]
    transfers.sort(key=lambda transfer: min((position[name] for name in transfer[0]), default=0))
    hide_bar = len(transfers) < PROGRESS_BAR_FROM
    for source_names, target_names, transform in tqdm(transfers, "Converting weights", leave=False, disable=hide_bar):
        sources = {name: state.pop(name) for name in source_names}
        transform_tensors = transform.to_native if to_native else transform.to_ours
        tensors = transform_tensors(list(sources.values()), config)
        if transform.allows_missing:
            tensors = tensors * len(target_names)
        for name, tensor in zip(target_names, tensors, strict=True):
            result[name] = copies.of(tensor, sources)
    return result
