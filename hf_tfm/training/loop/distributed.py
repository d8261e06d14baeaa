"""A model that transformers distributes over several processes: sharded weights (FSDP2) or split layers (tensor
parallelism), and what one process decides for all."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate
from transformers.distributed.configuration_utils import DistributedConfig

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["distribute_model", "on_main_process", "reshard_weights"]

T = TypeVar("T")


def distribute_model(model: Any, args: TfmTrainingArguments, folder: Path) -> Any:
    """The model distributed over --fsdp_size x --tp_size processes.

    transformers distributes weights when it loads them, so the model is first saved to a folder in `folder`, which is
    then deleted. Raises ValueError if the product of the sizes is not the number of processes."""
    num_processes = args.tp_size * args.fsdp_size
    if num_processes == 1:
        return model
    if num_processes != args.world_size:
        raise ValueError(
            f"--tp_size {args.tp_size} x --fsdp_size {args.fsdp_size} needs {num_processes} processes, got "
            f"{args.world_size}; start them with: torchrun --nproc-per-node {num_processes} train.py ..."
        )
    saved = folder / "_initial_model"
    with args.main_process_first(local=False, desc="saving the model before it is distributed"):
        if args.should_save:
            model.save_pretrained(saved)
    sizes: dict[str, Any] = {"tp_size": args.tp_size, "fsdp_size": args.fsdp_size}
    config = DistributedConfig(**{name: size for name, size in sizes.items() if size > 1})
    distributed = type(model).from_pretrained(saved, distributed_config=config)
    distributed.register_load_state_dict_pre_hook(shard_loaded_weights)
    PartialState().wait_for_everyone()
    if args.should_save:
        shutil.rmtree(saved)
    return distributed


def shard_loaded_weights(model: Any, state_dict: dict[str, Any], *args: Any) -> None:
    """Shard the whole weights that are loaded into a sharded model, as those of a checkpoint are."""
    reshard_weights(model)
    for name, weight in model.state_dict().items():
        if isinstance(weight, DTensor) and name in state_dict:
            everywhere = [Replicate()] * weight.device_mesh.ndim
            whole = state_dict[name].to(weight.device)
            whole = DTensor.from_local(whole, weight.device_mesh, everywhere, run_check=False)
            state_dict[name] = whole.redistribute(placements=weight.placements)


def reshard_weights(model: Any) -> None:
    """Shard weights again (FSDP2). The outermost module keeps them whole after a forward pass without a backward pass,
    and an optimizer made then would update the whole ones, which the next forward pass does not read."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def on_main_process(function: Callable[[], T]) -> T:
    """What a function returns in the main process, in every process. If it raises an error, every process does."""
    outcome: list[Any] = [None]
    if PartialState().is_main_process:
        try:
            outcome = [function()]
        except Exception as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
