"""A model that transformers distributes over several processes: sharded weights (FSDP2) or split layers (tensor
parallelism)."""

from pathlib import Path
from typing import Any

from transformers.distributed.configuration_utils import DistributedConfig

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["distribute_model"]


def distribute_model(model: Any, args: TfmTrainingArguments, folder: Path) -> Any:
    """The model distributed over --fsdp_size x --tp_size processes.

    transformers distributes weights when it loads them, so the model is first saved to `folder`. Raises ValueError if
    the product of the sizes is not the number of processes."""
    num_processes = args.tp_size * args.fsdp_size
    if num_processes == 1:
        return model
    if num_processes != args.world_size:
        raise ValueError(
            f"--tp_size {args.tp_size} x --fsdp_size {args.fsdp_size} needs {num_processes} processes, got "
            f"{args.world_size}; start them with: torchrun --nproc-per-node {num_processes} train.py ..."
        )
    with args.main_process_first(local=False, desc="saving the model before it is distributed"):
        if args.should_save:
            model.save_pretrained(folder)
    sizes: dict[str, Any] = {"tp_size": args.tp_size, "fsdp_size": args.fsdp_size}
    config = DistributedConfig(**{name: size for name, size in sizes.items() if size > 1})
    return type(model).from_pretrained(folder, distributed_config=config)
