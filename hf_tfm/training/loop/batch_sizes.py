"""The rows of a step, which a run keeps when it resumes, in any number of processes."""

from collections.abc import Mapping
from typing import Any

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["BATCH_OPTIONS", "batch_sizes", "different_batches"]

BATCH_OPTIONS = ("world_size", "per_device_train_batch_size", "gradient_accumulation_steps")


def batch_sizes(args: TfmTrainingArguments) -> dict[str, int]:
    """What decides which rows a step reads, by name, as a run and its checkpoints record it."""
    return {"rows_per_step": args.rows_per_step} | {name: getattr(args, name) for name in BATCH_OPTIONS}


def different_batches(saved: Mapping[str, Any], args: TfmTrainingArguments) -> str | None:
    """Why a run with these options cannot go on after the steps of another, with what to change; None if it can.

    Processes and accumulated batches take rows in order, so that steps with the same number of rows read the same
    rows. Only where incomplete batches are dropped, the number of steps in an epoch depends on their size."""
    rows = saved["rows_per_step"]
    if rows != args.rows_per_step:
        return (
            f"its steps read {rows} rows, and those of this command {args.rows_per_step} ({args.world_size} "
            f"process(es)); {options_for(rows, args)}"
        )
    reason = "--dataloader_drop_last" if args.dataloader_drop_last else None
    reason = "accelerate, which shards the weights," if args.sharded_by_accelerate else reason
    names = [name for name in BATCH_OPTIONS if saved[name] != getattr(args, name)] if reason else []
    if names:
        values = ", ".join(f"{name} ({saved[name]} there, {getattr(args, name)} now)" for name in names)
        return f"with {reason} a run resumes only with the same {values}"
    return None


def options_for(rows: int, args: TfmTrainingArguments) -> str:
    """The options with which a step reads so many rows in these processes, in batches that are not larger."""
    batch = args.per_device_train_batch_size
    processes = args.rows_per_step // (batch * args.gradient_accumulation_steps)
    if rows % processes:
        return f"start a number of processes that divides {rows}"
    share = rows // processes
    size = max(size for size in range(1, min(batch, share) + 1) if share % size == 0)
    return f"add --per_device_train_batch_size {size} --gradient_accumulation_steps {share // size}"
