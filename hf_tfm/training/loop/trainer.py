"""transformers' Trainer with our optimizers, checkpoints that end with a manifest of their files, and random numbers
that depend only on the seed, the epoch and the row, so that a resumed run equals an unbroken one."""

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, SchedulerType
from transformers.trainer_utils import rotate_checkpoints

from hf_tfm.modeling.head_parts import LanguageHead, fused_loss_obstacle
from hf_tfm.privacy import shareable

from ..arguments.training_arguments import TfmTrainingArguments
from ..data.sources import TaskData
from ..preprocessing.rows import LOCATION
from .checkpoints import write_manifest
from .distributed import reshard_weights
from .distributed_trainer import DistributedTrainer
from .early_stopping import make_early_stopping
from .ema import make_ema
from .epoch_counter import EpochCounter
from .hub_pushes import CARD, HubPushes
from .label_smoothing import check_label_smoothing, smoothing_loss
from .length_grouped_sampler import SeededLengthGroupedSampler, row_lengths
from .optimizers import check_learning_rates, make_optimizer
from .option_checks import check_generation, check_rows
from .peak_memory import PEAK_MEMORY, peak_memory
from .progress_bar import ProgressBarCallback
from .result_files import keep_training_metrics, write_metrics
from .shared_files import find_best_checkpoint, hide_folders_in_state, keep_logs_out_of_pushes
from .spikes import ScoredSteps
from .training_length import TimeEstimate

__all__ = ["TfmTrainer"]


def use_cache_setting(config: Any) -> dict[str, bool]:
    """The `use_cache` of a configuration, if it has one."""
    return {"use_cache": config.use_cache} if hasattr(config, "use_cache") else {}


class TfmTrainer(ScoredSteps, DistributedTrainer):
    """A Trainer for one objective and its data. An overridden method describes only what it changes."""

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
        check_generation(args, self.objective)
        check_rows(args, examples["train"])
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
        if self.label_smoothing:
            check_label_smoothing(self.objective)
        base: Any = model
        if hasattr(base, "get_base_model"):
            # without the wrapper of PEFT
            base = base.get_base_model()
        self.has_lm_head = isinstance(base, LanguageHead)
        self.uses_fused_loss = self.has_lm_head and fused_loss_obstacle(base) is None
        self.ema, self.pushes, spikes = make_ema(model, args), HubPushes(self), self.watch_for_spikes()
        metric = self.objective.validation_metric if self.compute_metrics else "loss"
        self.early_stopping, self.epoch_counter = make_early_stopping(args, metric), EpochCounter(self)
        for callback in filter(None, (spikes, self.ema, self.early_stopping, self.epoch_counter, TimeEstimate())):
            self.add_callback(callback)
        if not args.disable_tqdm:
            # ProgressCallback, or NotebookProgressCallback in a notebook
            self.callback_handler.callbacks = [
                item for item in self.callback_handler.callbacks if not type(item).__name__.endswith("ProgressCallback")
            ]
            self.add_callback(ProgressBarCallback())
        keep_logs_out_of_pushes(self.callback_handler.callbacks, Path(str(args.output_dir)))

    # Data
    def model_inputs(self, split: str) -> Any:
        """The examples of a split without the columns that only `make_compute_metrics` reads, and without LOCATION."""
        table = self.examples[split]
        extra = [name for name in (*self.objective.metric_columns, LOCATION) if name in (table.column_names or ())]
        return table.remove_columns(extra)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Uses the evaluation collator, whose masks are fixed, and all rows in their order, because `compute_metrics`
        pairs predictions with the rows of the split."""
        args = self.args
        training_settings = self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last
        self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last = (
            self.eval_collator,
            "random",
            False,
        )
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator, args.train_sampling_strategy, args.dataloader_drop_last = training_settings

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """With --train_sampling_strategy group_by_length, uses an order that a resumed run repeats."""
        table: Any = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not hasattr(table, "__len__"):
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.sampler = SeededLengthGroupedSampler(row_lengths(self.examples["train"]), self.args.rows_per_step, seed)
        return self.sampler

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch to the collator and the sampler, if they draw random numbers."""
        users: list[Any] = [self.data_collator, getattr(self, "sampler", None)]
        for user in users:
            if hasattr(user, "set_epoch"):
                user.set_epoch(epoch)

    # Training
    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Saves the metrics of training, because a run that was killed after its last step does not compute them again.
        Raises ValueError if no step could be trained."""
        self.resumed_from = resume_from_checkpoint
        if self.ema and resume_from_checkpoint:
            self.ema.load(str(resume_from_checkpoint))
        output = super().train(resume_from_checkpoint, **kwargs)
        if not self.state.global_step:
            raise ValueError("No step was trained, because the training data gave no batch.")
        self.train_metrics = output.metrics
        output.metrics[PEAK_MEMORY] = peak_memory(self.args.device)
        if self.is_world_process_zero():
            is_trained = self.state.global_step > self._initial_global_step
            self.train_metrics = keep_training_metrics(str(self.args.output_dir), output.metrics, is_trained)
        return output

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Returns the completed epochs and the micro-batches of the current one to skip when a run resumes.

        For a stream both come from the checkpoint, because Trainer takes a stream for one epoch without end. The steps
        between logging, evaluation and saving come from the options, not from the checkpoint."""
        epoch, batches = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(self.args, max_steps)
        find_best_checkpoint(self.state, Path(str(self.args.output_dir)))
        states: Any = self.state.stateful_callbacks
        saved = states.get(EpochCounter.__name__, {}).get("attributes")
        if saved and self.data.streaming and self.resumed_from and not self.args.ignore_data_skip:
            epoch = saved["epoch"]
            batches = (self.state.global_step - saved["start_step"]) * self.args.gradient_accumulation_steps
        if self.early_stopping and self.resumed_from:
            self.early_stopping.resume(self.args, self.state)
        self.epoch_counter.epoch = epoch
        self.epoch_counter.start_step = self.state.global_step - batches // self.args.gradient_accumulation_steps
        return epoch, batches

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Trains no further step in a run that was killed after its last one."""
        if self.state.global_step >= self.state.max_steps or (self.early_stopping and self.early_stopping.has_ended):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def compute_loss(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Uses the fused loss in training where the model supports it, which makes no logits and smooths labels itself.
        Otherwise the term of label smoothing is added to the model's own loss, so that the load balancing loss of
        experts and the division by the items of the whole step stay as they are."""
        fused = self.uses_fused_loss and model.training
        if self.has_lm_head:
            inputs = {**inputs, "fused_loss": fused} | ({"label_smoothing": self.label_smoothing} if fused else {})
        if fused or not (self.label_smoothing and model.training):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs: Any
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        shift_labels = self.objective.shift_labels
        smoothing = smoothing_loss(
            outputs["logits"], inputs["labels"], self.label_smoothing, shift_labels, num_items_in_batch
        )
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            # as Trainer scales the loss: items are counted in all processes, whose gradients are then averaged
            smoothing = smoothing * (self.accelerator.num_processes // self.get_tp_size())
        loss = loss + smoothing
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """With --optimizer trainer, Trainer makes the optimizer of --optim."""
        target: Any = self.model if model is None else model
        # the samples before training are a forward pass
        reshard_weights(target)
        check_learning_rates(target, self.args)
        if self.optimizer is not None or self.args.optimizer == "trainer":
            return super().create_optimizer(model)
        self.optimizer = make_optimizer(target, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Computes the decay steps of warmup_stable_decay from --decay_fraction."""
        if self.args.lr_scheduler_type == SchedulerType.WARMUP_STABLE_DECAY:
            after_warmup = num_training_steps - self.args.get_warmup_steps(num_training_steps)
            decay_steps = max(0, min(after_warmup, round(self.args.decay_fraction * num_training_steps)))
            user_kwargs: Any = self.args.lr_scheduler_kwargs or {}
            self.args.lr_scheduler_kwargs = {"num_decay_steps": decay_steps, "decay_type": "linear"} | user_kwargs
        return super().create_scheduler(num_training_steps, optimizer)

    # Checkpoints
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves `use_cache` as it was before training switched it off. The result, also when it is pushed to the Hub,
        has the average of --ema_decay as its weights; a checkpoint has the last weights, and the average in its own
        file. Pushes nothing: train.py pushes once, with the card."""
        is_checkpoint = _internal_call and output_dir is not None
        config: Any = self.model.config  # pyright: ignore[reportOptionalMemberAccess]
        config.update(self.generation_cache_setting)
        with nullcontext() if is_checkpoint else self.ema_weights():
            super().save_model(output_dir, _internal_call=True)
        config.update(self.training_cache_setting)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Writes the manifest when every process has written its part, and only then pushes the checkpoint and deletes
        older ones, so that a run that is killed at any time leaves a whole one."""
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        args, settings = self.args, (self.args.save_total_limit, self.args.push_to_hub)
        if args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        args.save_total_limit, args.push_to_hub = None, False
        try:
            super()._save_checkpoint(model, trial)
            if self.ema and args.should_save:
                self.ema.save(str(folder))
            self.accelerator.wait_for_everyone()
            if args.should_save:
                hide_folders_in_state(folder)
                write_manifest(folder, args)
        except Exception:
            # half a checkpoint is of no use, and a full disk needs its space
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            args.save_total_limit, args.push_to_hub = settings
        if not self.pushes.leave_out_next():
            self.delete_old_checkpoints()
            self.pushes.push(folder)

    def delete_old_checkpoints(self) -> None:
        """Keeps --save_total_limit checkpoints, after their pushes."""
        self.pushes.wait()
        if self.args.should_save:
            folder, best = self._get_output_dir(None), self.state.best_model_checkpoint
            rotate_checkpoints(folder, self.args.save_total_limit, best_model_checkpoint=best, use_mtime=True)

    def _finish_current_push(self) -> None:
        super()._finish_current_push()
        self.delete_old_checkpoints()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuses a checkpoint with other tensors than the model, which would keep its initial ones. Tied ones are
        saved once."""
        super()._issue_warnings_after_load(load_result)
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        names = [*(name for name in load_result.missing_keys if name not in tied), *load_result.unexpected_keys]
        if names:
            raise ValueError(
                f"{self.resumed_from} is a checkpoint of another model: only one of both has {', '.join(names[:5])}. "
                "Resume with the options of its run."
            )

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """With --early_stopping_patience, also saves the best weights, and the state in which training ends."""
        if self.early_stopping is None:
            return super()._determine_best_metric(metrics, trial)
        return self.early_stopping.decide(metrics, self.state, self.control)

    def _load_best_model(self) -> None:
        """Also loads the average of that checkpoint."""
        super()._load_best_model()
        if self.ema:
            self.ema.load(str(self.state.best_model_checkpoint))

    # Results
    def ema_weights(self) -> AbstractContextManager[None]:
        """A context in which the model has the average of --ema_decay, if any, as its weights."""
        return self.ema.average_parameters() if self.ema else nullcontext()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates the average of --ema_decay, and restores the random state, so that training does not depend on how
        often it is evaluated: every data loader draws one random number."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with self.ema_weights(), torch.random.fork_rng(devices=devices):
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Drops the repeated rows that fill the last batches of several processes, which Seq2SeqTrainer keeps."""
        self.gather_function = self.accelerator.gather_for_metrics
        return super().evaluation_loop(*args, **kwargs)

    def compute_metrics_of(self, split: str) -> Any:
        """The function that computes the results of a split; None if only its loss is evaluated."""
        if self.objective.generates_text and not self.args.predict_with_generate:
            return None
        rows, features = self.data.splits[split], self.examples[split]
        cache_dir = self.metrics_cache_dir / str(self.args.process_index)
        source_bytes = self.data.source_bytes.get(split, 0)
        return self.objective.make_compute_metrics(rows, features, self.processing_class, cache_dir, source_bytes)

    def evaluate_split(self, split: str, prefix: str) -> dict[str, float]:
        """Results on all rows of a split, with a prefix to their names."""
        compute_metrics, self.compute_metrics = self.compute_metrics, self.compute_metrics_of(split)
        try:
            return self.evaluate(self.model_inputs(split), metric_key_prefix=prefix)
        finally:
            self.compute_metrics = compute_metrics

    def evaluate_all_splits(self) -> dict[str, Any]:
        """Results on every split, saved as <split>_results.json and together as all_results.json."""
        results = {
            "train": self.train_metrics,
            "eval": self.evaluate_split("validation", "eval"),
            "test": self.evaluate_split("test", "test"),
        }
        results["all"] = {name: value for metrics in results.values() for name, value in metrics.items()}
        # Other processes may still write into the folder.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            for split, metrics in results.items():
                write_metrics(str(self.args.output_dir), split, metrics)
            shutil.rmtree(self.metrics_cache_dir, ignore_errors=True)
        return results["all"]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Keeps the card that train.py wrote; before there is one, Trainer writes its own."""
        card = Path(str(self.args.output_dir)) / CARD
        if self.is_world_process_zero() and not card.exists():
            super().create_model_card(*args, **kwargs)
            card.write_text(shareable(card.read_text(encoding="utf-8")), encoding="utf-8")
