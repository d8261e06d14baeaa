"""The host's Trainer with the blanks filled: our optimisers, a schedule in shares, measures that know their text."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, SchedulerType, Trainer

from .arguments import TrainSettings
from .data import Documents
from .objectives import Objective
from .optimizers import OPTIMIZERS

__all__ = ["TfmTrainer"]


def cache_setting(config: Any) -> dict[str, bool]:
    """The configuration's `use_cache`, for kinds of model that have one."""
    return {"use_cache": config.use_cache} if hasattr(config, "use_cache") else {}


class TfmTrainer(Trainer):
    """A Trainer for one objective on one set of documents; everything else is the host's."""

    def __init__(
        self,
        model: PreTrainedModel,
        settings: TrainSettings,
        objective: Objective,
        documents: Documents,
        examples: Any,
        tokenizer: Any,
    ) -> None:
        self.settings, self.objective, self.documents, self.examples = settings, objective, documents, examples
        self.scratch = Path(str(settings.output_dir)) / "metrics"
        self.of_generation = cache_setting(model.config)
        super().__init__(
            model=model,
            args=settings,
            train_dataset=examples["train"],
            eval_dataset=examples["validation"],
            processing_class=tokenizer,
            data_collator=objective.collator,
            preprocess_logits_for_metrics=objective.reduce_logits,
        )
        self.of_training = cache_setting(model.config)
        self.compute_metrics = self.measure_of("validation")

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        self.resumed_from = resume_from_checkpoint
        self.outcome = super().train(resume_from_checkpoint, **kwargs)
        return self.outcome

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """As the host's, but generation keeps its cache: training does without one, and checkpoints would say so."""
        config: Any = self.model.config  # pyright: ignore[reportOptionalMemberAccess]
        config.update(self.of_generation)
        super().save_model(*args, **kwargs)
        config.update(self.of_training)

    def measure_of(self, split: str) -> Any:
        """The function that turns what was kept of a split into results."""
        return self.objective.measure(self.scratch, self.documents.source_bytes[split])

    def test(self) -> dict[str, float]:
        """Results on the test split, their names beginning with test_."""
        validation, self.compute_metrics = self.compute_metrics, self.measure_of("test")
        try:
            return self.evaluate(self.examples["test"], metric_key_prefix="test")
        finally:
            self.compute_metrics = validation

    def measure_all(self) -> dict[str, Any]:
        """Results on every split, each also saved as <split>_results.json and together as all_results.json."""
        results = {"train": self.outcome.metrics, "eval": self.evaluate(), "test": self.test()}
        for split, metrics in results.items():
            self.save_metrics(split, metrics)
        shutil.rmtree(self.scratch, ignore_errors=True)
        return {name: value for metrics in results.values() for name, value in metrics.items()}

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.settings.optimizer in OPTIMIZERS:
            target: Any = self.model if model is None else model
            self.optimizer = OPTIMIZERS[self.settings.optimizer](target, self.settings)
            return self.optimizer
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.settings.lr_scheduler_type == SchedulerType.WARMUP_STABLE_DECAY:
            falling = num_training_steps - self.settings.get_warmup_steps(num_training_steps)
            decay = max(0, min(falling, round(self.settings.decay_fraction * num_training_steps)))
            asked: Any = self.settings.lr_scheduler_kwargs or {}
            self.settings.lr_scheduler_kwargs = {"num_decay_steps": decay, "decay_type": "linear"} | asked
        return super().create_scheduler(num_training_steps, optimizer)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Pushing keeps the measured card that train.py wrote; before there is one, the host drafts its own."""
        if not (Path(str(self.settings.output_dir)) / "README.md").exists():
            super().create_model_card(*args, **kwargs)
