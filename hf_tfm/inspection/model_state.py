"""Running a model for inspection, and leaving it exactly as it was: modes, configuration, hooks and random numbers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

__all__ = ["hooks", "inspected"]


@contextmanager
def inspected(model: Any, **fields: Any) -> Iterator[None]:
    """Evaluation mode, padded rows, and `fields` of the configuration, until the block ends, by an error too. Gradients
    are off unless the block turns them on; random numbers go on as if nothing had been drawn."""
    config, modes = model.config, {module: module.training for module in model.modules()}
    fields = {"padding_free": False, "return_dict": True, **fields}
    before = {name: getattr(config, name) for name in fields}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        try:
            model.eval()
            for name, value in fields.items():
                setattr(config, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(config, name, value)
            for module, mode in modes.items():
                module.training = mode


@contextmanager
def hooks(**kinds: list[tuple[Any, Any]]) -> Iterator[None]:
    """Hooks on modules until the block ends. `kinds`: `forward`, `forward_pre` -> (module, hook); a hook is called with
    keyword arguments, too."""
    with ExitStack() as handles:
        for module, hook in kinds.get("forward", []):
            handles.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        for module, hook in kinds.get("forward_pre", []):
            handles.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield
