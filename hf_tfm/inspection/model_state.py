"""Running a model for inspection, and leaving it exactly as it was: modes, configuration, hooks and random numbers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

__all__ = ["hooks", "inspected"]

# transformers leaves hooks of its own behind when it records
PLAIN_OUTPUTS = {"padding_free": False, "return_dict": True} | dict.fromkeys(
    ("output_attentions", "output_hidden_states", "output_router_logits"), False
)


@contextmanager
def inspected(model: Any, training: bool = False, **fields: Any) -> Iterator[None]:
    """Evaluation mode without gradients (with `training`: training mode with them), padded rows, outputs without
    recordings, and `fields` of the configuration, until the block ends, by an error too. Random numbers go on as if
    nothing had been drawn."""
    config, modes = model.config, {module: module.training for module in model.modules()}
    # a configuration has only the fields of the features that it has
    fields = {name: value for name, value in {**PLAIN_OUTPUTS, **fields}.items() if hasattr(config, name)}
    before = {name: getattr(config, name) for name in fields}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.set_grad_enabled(training):
        try:
            model.train(training)
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
