"""The host's Trainer with the blanks filled: our optimisers, a schedule in shares, checkpoints that are whole or named
as not, and randomness that depends on the seed, the pass over the data and the row alone."""

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, SchedulerType, Seq2SeqTrainer
from transformers.trainer_utils import rotate_checkpoints

from hf_tfm.modeling.head_parts import LanguageHead, fused_loss_obstacle

from ..arguments.training_arguments import TfmTrainingArguments
from ..data.sources import TaskData
from .ema import ExponentialMovingAverage
from .epoch_counter import EpochCounter
from .label_smoothing import label_position, smoothing_loss
from .length_grouped_sampler import SeededLengthGroupedSampler, row_lengths
from .optimizers import OPTIMIZERS
from .output_dir import INCOMPLETE_MARKER
from .progress_bar import ProgressBarCallback

__all__ = ["TfmTrainer"]


def use_cache_setting(config: Any) -> dict[str, bool]:
    """The configuration's `use_cache`, for kinds of model that have one."""
    return {"use_cache": config.use_cache} if hasattr(config, "use_cache") else {}


class TfmTrainer(Seq2SeqTrainer):
    """A Trainer for one objective on one set of data; everything else is the host's."""

    def __init__(
        self,
        model: PreTrainedModel,
        args: TfmTrainingArguments,
        data: TaskData,
        examples: dict[str, Any],
        tokenizer: Any,
    ) -> None:
        self.args, self.data, self.examples = args, data, examples
        self.objective = data.objective
        self.check_generation()
        self.eval_split = "validation_subset" if "validation_subset" in examples else "validation"
        self.metrics_cache_dir = Path(str(args.output_dir)) / "metrics"
        self.generation_cache_setting = use_cache_setting(model.config)
        super().__init__(
            model=model,
            args=args,
            train_dataset=self.model_inputs("train"),
            eval_dataset=self.model_inputs(self.eval_split),
            processing_class=tokenizer,
            data_collator=self.objective.collator(tokenizer, model, training=True),
            preprocess_logits_for_metrics=None if args.predict_with_generate else self.objective.preprocess_logits,
        )
        self.training_cache_setting = use_cache_setting(model.config)
        self.eval_collator = self.objective.collator(tokenizer, model, training=False)
        self.compute_metrics = self.compute_metrics_of(self.eval_split)
        self.label_smoothing, self.label_smoother = args.label_smoothing_factor, None
        self.label_position = label_position(self.objective) if self.label_smoothing else ""
        head: Any = getattr(model, "get_base_model", lambda: model)()
        self.has_lm_head = isinstance(head, LanguageHead)
        self.uses_fused_loss = self.has_lm_head and fused_loss_obstacle(head) is None
        self.ema = self.make_ema()
        self.epoch_counter = EpochCounter(self)
        self.add_callback(self.epoch_counter)
        if not args.disable_tqdm:
            self.callback_handler.callbacks = [
                item for item in self.callback_handler.callbacks if not type(item).__name__.endswith("ProgressCallback")
            ]
            self.add_callback(ProgressBarCallback())

    def check_generation(self) -> None:
        if self.args.predict_with_generate and not self.objective.generates_text:
            raise ValueError(
                f"--predict_with_generate is for tasks that write text; --task {self.objective.task} does not."
            )

    def make_ema(self) -> ExponentialMovingAverage | None:
        """Raises ValueError where weights are sharded over processes."""
        args = self.args
        if not args.ema_decay:
            return None
        if args.fsdp or args.deepspeed or max(args.tp_size, args.fsdp_size) > 1:
            raise ValueError("--ema_decay keeps a mean of whole weights, and here they are sharded; leave it out.")
        mean = ExponentialMovingAverage(self.model, args.ema_decay)  # pyright: ignore[reportArgumentType]
        self.add_callback(mean)
        return mean

    # Data
    def model_inputs(self, split: str) -> Any:
        """The examples of a split without the columns that only its measure reads."""
        table = self.examples[split]
        extra = [name for name in self.objective.metric_columns if name in (table.column_names or ())]
        return table.remove_columns(extra)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As the host's, with the collator of evaluation, which draws nothing anew; all rows, in their own order, since
        measures stand beside the rows of the split."""
        args = self.args
        training = self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last
        self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last = (
            self.eval_collator,
            "random",
            False,
        )
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last = training

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Rows of like length together, in an order that follows from seed and epoch, so that resuming finds it."""
        table: Any = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not hasattr(table, "__len__"):
            return super()._get_train_sampler(train_dataset)
        rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.sampler = SeededLengthGroupedSampler(row_lengths(self.examples["train"]), rows, seed)
        return self.sampler

    def set_epoch(self, epoch: int) -> None:
        """Tell what draws at random which pass over the data this is."""
        parts: list[Any] = [self.data_collator, getattr(self, "sampler", None)]
        for part in parts:
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    # Training
    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        self.resumed_from = resume_from_checkpoint
        if self.ema and resume_from_checkpoint:
            self.ema.load(str(resume_from_checkpoint))
        self.train_output = super().train(resume_from_checkpoint, **kwargs)
        return self.train_output

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """As the host's: on resuming, whole passes over the data and micro-batches of the last one that are passed
        over. The host takes a stream for one pass without end; the checkpoint knows in which one it was. How often is
        logged, evaluated and saved follows the options, where the host keeps to the checkpoint's."""
        number, batches = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(self.args, max_steps)
        states: Any = self.state.stateful_callbacks
        told = states.get(EpochCounter.__name__, {}).get("attributes")
        if told and self.data.streaming and self.resumed_from and not self.args.ignore_data_skip:
            number = told["epoch"]
            batches = (self.state.global_step - told["start_step"]) * self.args.gradient_accumulation_steps
        self.epoch_counter.epoch = number
        self.epoch_counter.start_step = self.state.global_step - batches // self.args.gradient_accumulation_steps
        return number, batches

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """As the host's, which would take one step too many in a run that was killed after its last one."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def compute_loss(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As the host's. Steps of training that need no logits make none; evaluation always has them. Elsewhere label
        smoothing is added to the model's own loss, which so keeps its shift, its count of items and the balance of
        experts."""
        fused = self.uses_fused_loss and model.training
        if self.has_lm_head:
            inputs = {**inputs, "fused_loss": fused} | ({"label_smoothing": self.label_smoothing} if fused else {})
        if fused or not (self.label_smoothing and model.training):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        scores: Any = outputs
        counted = num_items_in_batch is not None
        over = self.accelerator.num_processes // self.get_tp_size()
        scale = over if self.args.average_tokens_across_devices and counted else 1
        added = smoothing_loss(
            scores["logits"], inputs["labels"], self.label_smoothing, self.label_position, num_items_in_batch
        )
        loss = loss + scale * added
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.args.optimizer in OPTIMIZERS:
            target: Any = self.model if model is None else model
            self.optimizer = OPTIMIZERS[self.args.optimizer](target, self.args)
            return self.optimizer
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.args.lr_scheduler_type == SchedulerType.WARMUP_STABLE_DECAY:
            falling = num_training_steps - self.args.get_warmup_steps(num_training_steps)
            decay = max(0, min(falling, round(self.args.decay_fraction * num_training_steps)))
            asked: Any = self.args.lr_scheduler_kwargs or {}
            self.args.lr_scheduler_kwargs = {"num_decay_steps": decay, "decay_type": "linear"} | asked
        return super().create_scheduler(num_training_steps, optimizer)

    # Checkpoints
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As the host's, but generation keeps its cache: training does without one, and checkpoints would say so. The
        result, also as it is pushed, has the running mean for its weights; a checkpoint has the last ones, and the mean
        beside them."""
        is_checkpoint = _internal_call and output_dir is not None
        config: Any = self.model.config  # pyright: ignore[reportOptionalMemberAccess]
        config.update(self.generation_cache_setting)
        with nullcontext() if is_checkpoint else self.ema_weights():
            super().save_model(output_dir, _internal_call)
        config.update(self.training_cache_setting)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As the host's, under a sign that is taken away when every process has written its part, and only then are
        older checkpoints deleted: a run killed at any time leaves a whole one."""
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / INCOMPLETE_MARKER).write_text("This checkpoint is being written, or its writing was cut short.\n")
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        if self.ema and self.args.should_save:
            self.ema.save(str(folder))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            (folder / INCOMPLETE_MARKER).unlink()
            best = self.state.best_model_checkpoint
            rotate_checkpoints(str(folder.parent), limit, best_model_checkpoint=best, use_mtime=True)

    def _load_best_model(self) -> None:
        """As the host's, with the running mean of that checkpoint."""
        super()._load_best_model()
        if self.ema:
            self.ema.load(str(self.state.best_model_checkpoint))

    # Results
    def ema_weights(self) -> AbstractContextManager[None]:
        """The model with its running mean of weights, where one is kept."""
        return self.ema.average_parameters() if self.ema else nullcontext()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As the host's, with the running mean of weights; training draws the same numbers however often is evaluated,
        though loaders draw one each time."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with self.ema_weights(), torch.random.fork_rng(devices=devices):
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As the host's, without the rows that fill up the last batches of several processes: its Seq2SeqTrainer keeps
        them."""
        self.gather_function = self.accelerator.gather_for_metrics
        return super().evaluation_loop(*args, **kwargs)

    def compute_metrics_of(self, split: str) -> Any:
        """The function that turns what was kept of a split into results; None where only its loss is measured."""
        if self.objective.generates_text and not self.args.predict_with_generate:
            return None
        cache = self.metrics_cache_dir / str(self.args.process_index)
        size = self.data.source_bytes.get(split, 0)
        rows, features = self.data.splits[split], self.examples[split]
        return self.objective.make_compute_metrics(rows, features, self.processing_class, cache, size)

    def evaluate_split(self, split: str, prefix: str) -> dict[str, float]:
        """Results on all rows of a split, their names beginning with a prefix."""
        compute_metrics, self.compute_metrics = self.compute_metrics, self.compute_metrics_of(split)
        try:
            return self.evaluate(self.model_inputs(split), metric_key_prefix=prefix)
        finally:
            self.compute_metrics = compute_metrics

    def evaluate_all_splits(self) -> dict[str, Any]:
        """Results on every split, each also saved as <split>_results.json and together as all_results.json."""
        results = {
            "train": self.train_output.metrics,
            "eval": self.evaluate_split("validation", "eval"),
            "test": self.evaluate_split("test", "test"),
        }
        for split, metrics in results.items():
            self.save_metrics(split, metrics)
        # Another process may still be writing there.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            shutil.rmtree(self.metrics_cache_dir, ignore_errors=True)
        return {name: value for metrics in results.values() for name, value in metrics.items()}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Pushing keeps the measured card that train.py wrote; before there is one, the host drafts its own."""
        if not (Path(str(self.args.output_dir)) / "README.md").exists():
            super().create_model_card(*args, **kwargs)
