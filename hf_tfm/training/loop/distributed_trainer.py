"""A Trainer whose checkpoints resume in any number of processes, sharded weights included."""

from pathlib import Path
from typing import Any

import torch
from transformers import Seq2SeqTrainer, set_seed
from transformers.distributed.checkpoint import load_optimizer_distributed, save_optimizer_distributed
from transformers.trainer import SCHEDULER_NAME

from ..arguments.training_arguments import TfmTrainingArguments
from ..utils.printing import print_on_main_process
from .checkpoints import OPTIMIZER_FOLDER, number_of_processes

__all__ = ["DistributedTrainer"]


class DistributedTrainer(Seq2SeqTrainer):
    """Saves the optimizer states of sharded weights (--fsdp_size, --tp_size) by the names of the weights, every process
    its own, with torch.distributed.checkpoint, so that whole weights and other numbers of processes resume from them.
    Trainer would save those of the main process only."""

    def __init__(self, model: Any, args: TfmTrainingArguments, **kwargs: Any) -> None:
        save_only_model = args.save_only_model
        # Trainer refuses to train sharded weights without it (transformers 5.23, trainer.py, line 632)
        args.save_only_model = save_only_model or bool(args.sharding_options())
        super().__init__(model=model, args=args, **kwargs)
        args.save_only_model = save_only_model
        if self.is_fsdp_enabled:
            # with sharded state dictionaries Trainer.save_model writes no weights at all
            use_full_state_dict(self.accelerator.state.fsdp_plugin)

    def torch_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without the wrapper of accelerate."""
        optimizer: Any = self.optimizer
        return getattr(optimizer, "optimizer", optimizer)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_distributed_loading_by_transformers:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_optimizer_distributed(self.model, self.torch_optimizer(), str(Path(output_dir) / OPTIMIZER_FOLDER))
        scheduler: Any = self.lr_scheduler
        if self.args.should_save:
            torch.save(scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(str(checkpoint)) / OPTIMIZER_FOLDER
        if not folder.is_dir():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_optimizer_distributed(self.model, self.torch_optimizer(), str(folder))
        scheduler: Any = self.lr_scheduler
        scheduler.load_state_dict(torch.load(folder.parent / SCHEDULER_NAME, weights_only=True))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """In another number of processes dropout draws other random numbers, and not those of the first steps again."""
        saved = number_of_processes(Path(checkpoint)) if checkpoint else self.args.world_size
        if saved == self.args.world_size:
            super()._load_rng_state(checkpoint)
            return
        set_seed(self.args.seed + self.state.global_step)
        print_on_main_process(
            f"Saved by {saved} process(es), resumed in {self.args.world_size}: the same rows in each step, and other "
            "random numbers in dropout"
        )


def use_full_state_dict(plugin: Any) -> None:
    """Lets accelerate's FSDP save whole weights, as every reader of a checkpoint expects them."""
    plugin.state_dict_config = plugin.optim_state_dict_config = None
    plugin.set_state_dict_type("FULL_STATE_DICT")
