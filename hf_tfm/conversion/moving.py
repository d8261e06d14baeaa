"""Tensors from one side's names to the other's, without holding any of them twice."""

from typing import Any

from torch import Tensor, nn
from tqdm.auto import tqdm

from .rows import Move

__all__ = ["State", "moved", "tensors_of"]

State = dict[str, Tensor]
LONG = 500  # moves; from here on a bar is shown


def tensors_of(model: nn.Module, keep: bool) -> State:
    """The tensors of a model by name; unless `keep`, it gives them away, so that the caller can let them go."""
    state = dict(model.state_dict())
    for module in () if keep else model.modules():
        module._parameters.clear()
        module._buffers.clear()
    return state


class Copies:
    """Copies of tensors that share no memory with the originals; several names of one tensor get one copy."""

    def __init__(self, state: State) -> None:
        names: dict[int, str] = {}
        self.name_of = {name: names.setdefault(tensor.data_ptr(), name) for name, tensor in state.items()}
        self.copies: State = {}

    def of(self, tensor: Tensor, given: State) -> Tensor:
        """A copy of what a change made of `given`, unless it is one already."""
        for name, source in given.items():
            if tensor is source:
                name = self.name_of[name]
                if name not in self.copies:
                    self.copies[name] = tensor.clone()
                return self.copies[name]
        memory = {source.untyped_storage().data_ptr() for source in given.values()}
        return tensor.clone() if tensor.untyped_storage().data_ptr() in memory else tensor


def moved(moves: list[Move], state: State, config: Any, backward: bool = False) -> State:
    """Copies of the tensors under the names of the other side. `state` is emptied in its own order, which is mostly
    that of its files: one is let go before the next is read."""
    copies, result = Copies(state), State()
    place = {name: number for number, name in enumerate(state)}
    sides = [(m.ours, m.native, m.change) if backward else (m.native, m.ours, m.change) for m in moves]
    sides.sort(key=lambda side: min((place[name] for name in side[0]), default=0))
    for here, there, change in tqdm(sides, desc="Converting weights", leave=False, disable=len(sides) < LONG):
        given = {name: state.pop(name) for name in here}
        tensors = (change.backward if backward else change.forward)(list(given.values()), config)
        if change.some:
            tensors = tensors * len(there)
        result.update({name: copies.of(tensor, given) for name, tensor in zip(there, tensors, strict=True)})
    return result
