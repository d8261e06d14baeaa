"""The base class of all probes, and the finished run that a probe measures."""

import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers

from hf_tfm.training.loop.output_dir import OutputDir
from hf_tfm.training.metrics.perplexity import sum_next_token_losses
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.training_run import prepare_data

__all__ = ["Probe", "ProbeResult", "ProbedRun", "summed_losses"]

# of a batch, whose logits then fit into memory
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class ProbeResult:
    """`measures`: numbers by name, NaN for what this design cannot do. `reason`: why it cannot."""

    measures: dict[str, float]
    reason: str = ""

    def values(self) -> dict[str, Any]:
        """As JSON, which has no NaN."""
        measures = {name: value if math.isfinite(value) else None for name, value in self.measures.items()}
        return {"measures": measures, "reason": self.reason}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "ProbeResult":
        measures = {name: math.nan if value is None else value for name, value in values["measures"].items()}
        return cls(measures, values["reason"])


class ProbedRun:
    """A run of train.py that has finished. `data`: those that it read; None: they are read again, if a probe asks."""

    def __init__(self, run_args: Any, data: Any = None) -> None:
        self.run_args, self.folder = run_args, Path(str(run_args.training.output_dir))
        self.objective = OBJECTIVES[run_args.training.task](run_args.task, run_args.training.seed)
        self.known_data = data

    @property
    def seed(self) -> int:
        return self.run_args.training.seed

    @property
    def device(self) -> Any:
        return self.run_args.training.device

    @cached_property
    def config(self) -> Any:
        return transformers.AutoConfig.from_pretrained(self.folder)

    @cached_property
    def model(self) -> Any:
        """The trained model, as saved, in evaluation mode."""
        model_class: Any = getattr(transformers, self.objective.auto_class)
        return model_class.from_pretrained(self.folder).to(self.device).eval()

    @cached_property
    def tokenizer(self) -> Any:
        return transformers.AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def data(self) -> Any:
        """Rows of all splits."""
        if self.known_data is not None:
            return self.known_data
        with tempfile.TemporaryDirectory() as folder:
            return prepare_data(self.run_args, OutputDir(Path(folder)))[0]


class Probe:
    """One probe. A subclass defines the attributes and `measure`, and is entered in PROBES."""

    # value of --probes
    name: str
    # measure -> what it is; all of them stand in the table
    labels: dict[str, str]
    # measures that are drawn over each other's names, as one line per arm; empty: all
    drawn: tuple[str, ...] = ()
    # values of --task that it fits; empty: every task of a causal decoder
    tasks: tuple[str, ...] = ()

    def refusal(self, config: Any, run_args: Any) -> str | None:
        """Why it does not fit a model of this configuration; None if it does."""
        task, model = run_args.training.task, run_args.model
        if config.model_type != "tfm_decoder":
            return f"--probes {self.name} measures causal decoders, and this is a {config.model_type}; leave it out."
        if self.tasks and task not in self.tasks:
            return f"--probes {self.name} measures --task {' and '.join(self.tasks)}, not {task}; leave it out."
        if model.peft and not model.merge_adapter:
            return f"--probes {self.name} reads a whole model; add --merge_adapter, or leave it out."
        return None

    def seconds(self, config: Any, run_args: Any, evaluation_seconds: float) -> float:
        """About how long it takes. `evaluation_seconds`: of an evaluation on the validation split."""
        raise NotImplementedError

    def measure(self, run: ProbedRun) -> ProbeResult:
        """The result, which depends on the run and its seed alone."""
        raise NotImplementedError


def summed_losses(model: Any, ids: torch.Tensor, *labels: torch.Tensor) -> list[float]:
    """Nats summed over the labels, and their number, for each of several labels (rows, T) of the ids (rows, T)."""
    rows = max(1, BATCH_TOKENS // ids.shape[1])
    found = torch.zeros(len(labels), 2, dtype=torch.float64)
    for start in range(0, len(ids), rows):
        with torch.no_grad():
            logits = model(ids[start : start + rows].to(model.device)).logits
        for index, part in enumerate(labels):
            part = part[start : start + rows].to(model.device)
            found[index] += sum_next_token_losses(logits, part).double().sum(0).cpu()
    return found.flatten().tolist()
