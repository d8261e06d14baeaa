"""The report of a finished run: plot, model card, and a printed summary with a snippet that uses the checkpoint."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType
from transformers.training_args import OptimizerNames

from hf_tfm.cards import DataFacts, RunFacts, Sample, escaped, model_card
from hf_tfm.privacy import hide_secret_values, is_absolute, shareable, shareable_arguments
from hf_tfm.usage import adapter_note, checkpoint_arguments

from ..arguments.run_arguments import RunArguments
from ..arguments.training_arguments import TfmTrainingArguments
from ..data.sources import TaskData
from ..data.splits import SPLITS
from ..loop.shared_files import hide_folders_in_state
from ..loop.trainer import TfmTrainer
from ..utils.files import write_atomically
from .inspect_page import PAGE_FILE, write_inspect_page
from .training_plot import nats_per_token, plot_training

__all__ = ["RunReport", "write_model_files"]

BUILTIN_DATA_NOTE = (
    "Made from the sources and documentation that come with CPython (copyright Python Software Foundation and "
    "contributors, PSF licence version 2), read from the interpreter that trained the model. The data change slightly "
    "with every Python release: compare results only if the fingerprints are equal. Rows are assigned to splits by a "
    "hash of their content."
)
PLOT_FILE, CARD_FILE = "training.png", "README.md"


@dataclass
class RunReport:
    """Reports one run, in the output directory and on the screen. `results`: by Trainer's names. `sample_input`: the
    input in the usage snippet."""

    trainer: TfmTrainer
    run_args: RunArguments
    results: dict[str, Any]
    samples: list[Sample]
    sample_input: Any

    def __post_init__(self) -> None:
        args = self.trainer.args
        self.folder = Path(str(args.output_dir))
        self.model: Any = self.trainer.accelerator.unwrap_model(self.trainer.model)
        self.objective = self.trainer.objective
        self.hub_name: str | None = self.trainer.hub_model_id if args.push_to_hub else None
        note = self.run_args.data.data_note or ""
        measured = [name for name in self.objective.metric_labels if f"test_{name}" in self.results]
        self.baseline_metric = self.objective.baseline_metric or measured[0]
        baselines: dict[str, float] = {}
        if self.baseline_metric in measured:
            tokenizer = self.trainer.processing_class
            baselines = self.objective.baselines(self.trainer.data, self.trainer.examples, tokenizer)
        self.data = data_facts(self.trainer.data, baselines, self.baseline_metric, note)

    def write(self) -> None:
        """Write training.png, inspect.html and README.md."""
        title = f"{self.model.num_parameters():,} parameters, {self.objective.task}\n{self.data.description}"
        plot_training(self.trainer.state.log_history, self.folder / PLOT_FILE, title, self.baseline_losses())
        name = (self.hub_name or self.folder.resolve().name).split("/")[-1]
        with_page = self.trainer.args.inspect_page and write_inspect_page(
            self.trainer, self.run_args, name, self.sample_input, self.samples[0].after
        )
        card = model_card(
            name=name,
            config=self.model.config,
            parameters=self.model.num_parameters(),
            pipeline_tag=self.objective.pipeline_tag,
            results=self.results,
            metrics=self.objective.metric_labels,
            data=self.data,
            run=run_facts(self.trainer, self.run_args, self.results, PAGE_FILE if with_page else None),
            samples=self.samples,
            # of a run that is not pushed, but may be shared: "." is the folder of the card
            usage=self.usage_snippet("." if is_absolute(str(self.folder)) else str(self.folder)),
            notes=self.objective.metric_notes,
        )
        card = hide_secret_values(card, self.trainer.args.hub_token)
        (self.folder / CARD_FILE).write_text(card, encoding="utf-8")

    def usage_snippet(self, folder: str) -> str:
        """Python code that uses the model by its Hub name if it is pushed, else by a folder."""
        revision = self.trainer.args.hub_revision if self.hub_name else None
        arguments = checkpoint_arguments(self.hub_name or folder, revision)
        needed = f"{adapter_note(self.run_args.model.init_from)}\n" if is_adapter(self.run_args) else ""
        return needed + self.objective.usage_snippet(arguments, self.sample_input)

    def baseline_losses(self) -> dict[str, float]:
        """Baselines in the unit of the loss, nats per token; empty if they are measured otherwise."""
        if self.baseline_metric == "nats_per_token":
            return {f"{name}, {nats:.2f} nats per token": nats for name, nats in self.data.baselines.items()}
        if self.baseline_metric != "bits_per_byte":
            return {}
        bytes_per_token = self.trainer.data.source_bytes["test"] / self.results["test_scored_tokens"]
        return {
            f"{name}, {bits:.2f} bits per byte": nats_per_token(bits, bytes_per_token)
            for name, bits in self.data.baselines.items()
        }

    def summary(self) -> str:
        """The printed summary: samples, a table of results, the files, and the usage snippet."""
        samples = "\n\n".join(format_sample(sample) for sample in self.samples)
        names = sorted(path.name for path in self.folder.iterdir() if path.suffix != ".py" and path.name[0] != "_")
        files = ", ".join([*names, "the model's code (*.py)"])
        return (
            f"\n{samples}\n\n{self.length_note()}{self.result_table()}{self.baseline_note()}\n\n"
            f"Written to {self.folder}: {files}\n\n"
            f"Load it and use it:\n\n{self.usage_snippet(str(self.folder))}\n"
        )

    def length_note(self) -> str:
        """Which step's weights were taken, if training chose; empty otherwise."""
        state, args = self.trainer.state, self.trainer.args
        if not (self.trainer.early_stopping and state.best_global_step):
            return ""
        return (
            f"Trained {state.global_step:,} of at most {state.max_steps:,} steps ({state.epoch or 0:.1f} epochs) and "
            f"took the weights of step {state.best_global_step:,} ({args.metric_for_best_model} "
            f"{state.best_metric:.4g} on the validation rows).\n\n"
        )

    def baseline_note(self) -> str:
        """A line about a simple method with a better result than the model's; empty if there is none."""
        sign = -1 if self.baseline_metric in self.objective.lower_is_better else 1
        own = self.results[f"test_{self.baseline_metric}"] if self.data.baselines else 0
        better = {name: sign * value for name, value in self.data.baselines.items() if sign * value > sign * own}
        if not better:
            return ""
        larger = "larger " if self.run_args.model.init_from else ""
        return (
            f"\n\nA simple method is better than this model here: {max(better, key=better.__getitem__)}. What usually "
            f"helps is a start from a {larger}pretrained checkpoint: --init_from <folder or Hub name>."
        )

    def result_table(self) -> str:
        """One line per metric, then the baselines in one of these metrics."""
        labels, results = self.objective.metric_labels, self.results
        rows = [
            [label, *(f"{results[key]:.3f}" if key in results else "" for key in (f"test_{name}", f"eval_{name}"))]
            for name, label in labels.items()
            if f"test_{name}" in results
        ]
        label = labels[self.baseline_metric]
        rows += [[f"{name}: {label}", f"{value:.3f}", ""] for name, value in self.data.baselines.items()]
        width = max(len(row[0]) for row in rows)
        lines = [["", "test", "validation"], *rows]
        return "\n".join(f"{label:<{width}}  {test:>10}  {validation:>10}" for label, test, validation in lines)


def write_model_files(trainer: TfmTrainer, run_args: RunArguments) -> None:
    """Write the files beside a whole model that other libraries read, and hide folders in the state of the run."""
    folder = Path(str(trainer.args.output_dir))
    for name, content in ({} if is_adapter(run_args) else trainer.objective.model_files()).items():
        write_atomically(folder / name, json.dumps(content, indent=2) + "\n")
    hide_folders_in_state(folder)


def format_sample(sample: Sample) -> str:
    """A sample as printed text."""
    texts = {"Input": sample.prompt, "Before training": sample.before, "After training": sample.after}
    texts |= {"Reference": sample.reference} if sample.reference else {}
    return "\n".join(f"{name + ':':<18}{text}" for name, text in texts.items())


def data_facts(data: TaskData, baselines: dict[str, float], baseline_metric: str, note: str) -> DataFacts:
    """The model card's section on the data."""
    # these hold labels and names of files
    about_data = [escaped(shareable(text)) for text in (*data.notes, data.objective.bad_rows.note()) if text]
    sizes = {name: (len(data.splits[name]), data.source_bytes[name]) for name in SPLITS if name in data.source_bytes}
    return DataFacts(
        description=shareable(data.description),
        fingerprint=data.fingerprint,
        sizes=sizes,
        language="en" if data.is_default else None,
        hub_name=None if data.hub_name is None or Path(data.hub_name).exists() else data.hub_name,
        baselines=baselines,
        baseline_metric=baseline_metric,
        notes=" ".join([BUILTIN_DATA_NOTE if data.is_default else shareable(note), *about_data]).strip(),
    )


def run_facts(
    trainer: TfmTrainer, run_args: RunArguments, results: dict[str, Any], page: str | None = None
) -> RunFacts:
    """The model card's section on the training. `page`: file of the page that shows the model from inside."""
    args, state = trainer.args, trainer.state
    resumed = f" since {Path(str(trainer.resumed_from)).name}" if trainer.resumed_from else ""
    settings: dict[str, Any] = {
        "steps": f"{state.global_step:,} with {args.rows_per_step} rows each ({state.epoch or 0:.2f} epochs)",
        "tokens": f"{state.num_input_tokens_seen:,} in all",
        "optimizer": describe_optimizer(args),
        "schedule": describe_schedule(args),
        "gradient clipping": f"norm {args.max_grad_norm}",
    }
    if trainer.early_stopping and state.best_global_step:
        settings["early stopping"] = (
            f"after {trainer.early_stopping.patience} evaluations without improvement; these are the weights of step "
            f"{state.best_global_step:,}, {args.metric_for_best_model} {state.best_metric:.4g}"
        )
    if args.ema_decay:
        settings["weight averaging"] = f"exponential moving average, decay {args.ema_decay:g}"
    if args.label_smoothing_factor:
        settings["label smoothing"] = f"{args.label_smoothing_factor:g}"
    settings |= {
        "precision": describe_precision(args),
        "seed": args.seed,
        "device": describe_device(args),
        "training time": f"{results['train_runtime']:.0f} s{resumed}",
    }
    command = shlex.join(["python", "train.py", *shareable_arguments(sys.argv[1:])])
    given = run_args.model.init_from
    source = shareable(given)
    return RunFacts(
        command=command,
        settings=settings,
        picture=PLOT_FILE,
        origin=f"trained further from {source}" if source else "trained from scratch",
        base_model=None if given is None or Path(given).exists() else source,
        is_adapter=is_adapter(run_args),
        license=args.hub_license,
        page=page,
    )


def is_adapter(run_args: RunArguments) -> bool:
    """Whether the result of a run is an adapter, and no whole model."""
    return bool(run_args.model.peft) and not run_args.model.merge_adapter


def describe_optimizer(args: TfmTrainingArguments) -> str:
    if args.optimizer == "trainer":
        return f"{OptimizerNames(args.optim).value} {args.learning_rate:g}, weight decay {args.weight_decay:g}"
    adamw = f"AdamW {args.learning_rate:g}, betas {args.adam_beta1:g} and {args.adam_beta2:g}"
    decay = f"weight decay {args.weight_decay:g} on hidden matrices"
    if args.optimizer == "muon":
        return f"Muon {args.muon_learning_rate:g} on hidden matrices, {adamw} on the rest, {decay}"
    return f"{adamw}, {decay}"


def describe_device(args: TfmTrainingArguments) -> str:
    if args.device.type == "cpu":
        processes = f"{args.world_size} processes of " if args.world_size > 1 else ""
        return f"CPU, {processes}{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if args.device.type == "cuda" else args.device.type
    return f"{args.world_size} x {name}"


def describe_schedule(args: TfmTrainingArguments) -> str:
    schedule = SchedulerType(args.lr_scheduler_type).value
    is_wsd = schedule == "warmup_stable_decay"
    decay = f", linear decay over the last {args.decay_fraction:.0%}" if is_wsd else ""
    return f"{schedule}, warmup {args.warmup_steps:g}{decay}"


def describe_precision(args: TfmTrainingArguments) -> str:
    precision = "float16 autocast with float32 weights" if args.fp16 else "float32"
    precision = "bfloat16 autocast with float32 weights" if args.bf16 else precision
    return f"{precision}, compiled" if args.torch_compile else precision
