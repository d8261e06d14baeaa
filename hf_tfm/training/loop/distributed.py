"""A model spread over processes by the host's own plans: weights gathered block by block (FSDP2), or each layer's
heads and units shared (tensor parallelism)."""

from pathlib import Path
from typing import Any

from transformers.distributed.configuration_utils import DistributedConfig

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["distribute_model"]


def distribute_model(model: Any, args: TfmTrainingArguments, folder: Path) -> Any:
    """The model as DistributedConfig lays it out over --fsdp_size and --tp_size processes.

    The host spreads while it loads, so the weights pass through `folder`. Raises ValueError if the product of the sizes
    is not the number of processes."""
    asked = args.tp_size * args.fsdp_size
    if asked == 1:
        return model
    if asked != args.world_size:
        raise ValueError(
            f"--tp_size {args.tp_size} x --fsdp_size {args.fsdp_size} is {asked}, and {args.world_size} "
            f"process(es) were started: torchrun --nproc-per-node {asked} train.py ..."
        )
    with args.main_process_first(local=False, desc="saving the model to spread"):
        if args.should_save:
            model.save_pretrained(folder)
    sizes: dict[str, Any] = {"tp_size": args.tp_size, "fsdp_size": args.fsdp_size}
    config = DistributedConfig(**{name: size for name, size in sizes.items() if size > 1})
    return type(model).from_pretrained(folder, distributed_config=config)
