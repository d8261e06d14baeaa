"""What a finished run tells: its picture, its model card, and the lines that use its checkpoint."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType
from transformers.training_args import OptimizerNames

from hf_tfm.cards import MEASURES, DataFacts, RunFacts, Sample, model_card

from .arguments import TrainSettings
from .baselines import measure_baselines
from .data import SPLITS, Documents
from .picture import draw_training
from .trainer import TfmTrainer

__all__ = ["Report", "usage"]

ORIGIN = (
    "Documentation and docstrings that come with CPython (copyright Python Software Foundation and contributors, PSF "
    "licence version 2), read from the interpreter that trained the model. The text changes a little with every "
    "Python release: compare results only where the fingerprints are equal. Documents are assigned to splits by a hash "
    "of their content."
)
PICTURE, CARD = "training.png", "README.md"


@dataclass
class Report:
    """Everything that is told about one run, in the output directory and on the screen.

    `results` holds Trainer's names; `hub_name` is the data set's, where the text came from the Hub."""

    trainer: TfmTrainer
    results: dict[str, Any]
    samples: list[Sample]
    hub_name: str | None = None

    def __post_init__(self) -> None:
        settings = self.trainer.settings
        self.folder = Path(str(settings.output_dir))
        self.model: Any = self.trainer.accelerator.unwrap_model(self.trainer.model)
        self.data = data_facts(self.trainer.documents, self.hub_name)
        # A pushed card must not speak of a folder that its readers do not have.
        home = (settings.push_to_hub and settings.hub_model_id) or str(self.folder)
        self.usage = usage(home, self.trainer.objective.pipeline_tag, self.samples[0].prompt)

    def write(self) -> None:
        """Write training.png and README.md."""
        documents, history = self.trainer.documents, self.trainer.state.log_history
        bytes_per_token = documents.source_bytes["test"] / self.results["test_scored_tokens"]
        title = f"{self.model.num_parameters():,} parameters, trained on\n{self.data.description}"
        draw_training(history, self.folder / PICTURE, bytes_per_token, dict(self.data.baselines), title)
        card = model_card(
            name=(self.trainer.settings.hub_model_id or self.folder.resolve().name).split("/")[-1],
            config=self.model.config,
            parameters=self.model.num_parameters(),
            pipeline_tag=self.trainer.objective.pipeline_tag,
            results=self.results,
            data=self.data,
            run=run_facts(self.trainer, self.results),
            samples=self.samples,
            usage=self.usage,
        )
        (self.folder / CARD).write_text(card, encoding="utf-8")

    def text(self) -> str:
        """For the screen: samples, results, what was written, and three lines that use it."""
        writings = "\n\n".join(
            f"Before training:\n{sample.before}\n\nAfter training:\n{sample.after}" for sample in self.samples
        )
        known = [(f"test_{name}", words) for name, words in MEASURES.items()]
        measured = ", ".join(f"{self.results[name]:.3f} {words}" for name, words in known if name in self.results)
        kept = sorted(path.name for path in self.folder.iterdir() if path.suffix != ".py")
        written = ", ".join([*kept, "the model's code (*.py)"])
        return (
            f"\n{writings}\n\nTest split: {measured}\nWritten to {self.folder}: {written}\n\n"
            f"Load it and use it:\n\n{self.usage}\n"
        )


def usage(folder: str, pipeline_tag: str, prompt: str) -> str:
    """Three lines of Python that load a checkpoint and use it, without hf_tfm installed."""
    return "\n".join(
        [
            "from transformers import pipeline",
            f'generate = pipeline("{pipeline_tag}", model={json.dumps(folder)}, trust_remote_code=True)',
            f'print(generate({json.dumps(prompt)}, max_new_tokens=40)[0]["generated_text"])',
        ]
    )


def data_facts(documents: Documents, hub_name: str | None) -> DataFacts:
    """What the card says of the text."""
    train, test = (list(documents.texts(name)) for name in ("train", "test"))
    return DataFacts(
        description=documents.description,
        fingerprint=documents.fingerprint,
        sizes={name: (len(documents.splits[name]), documents.source_bytes[name]) for name in SPLITS},
        language="en" if documents.is_default else None,
        hub_name=hub_name,
        baselines=measure_baselines(train, test),
        notes=ORIGIN if documents.is_default else "",
    )


def run_facts(trainer: TfmTrainer, results: dict[str, Any]) -> RunFacts:
    """What the card says of the training."""
    args, state = trainer.settings, trainer.state
    rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    length = len(trainer.examples["train"][0]["input_ids"])
    since = f", after going on from {Path(str(trainer.resumed_from)).name}" if trainer.resumed_from else ""
    facts = {
        "steps": f"{state.global_step:,} of {rows} rows of {length} tokens",
        "tokens": f"{state.global_step * rows * length:,} ({state.epoch or 0:.2f} passes over the training split)",
        "optimiser": optimizer_words(args),
        "schedule": schedule_words(args),
        "gradient clipping": f"norm {args.max_grad_norm}",
        "precision": precision(args),
        "seed": args.seed,
        "device": device_words(args),
        "training time": f"{results['train_runtime']:.0f} s{since}",
    }
    command = shlex.join(["python", "train.py", *sys.argv[1:]])
    return RunFacts(command=command, settings=facts, picture=PICTURE)


def optimizer_words(args: TrainSettings) -> str:
    adamw = f"AdamW {args.learning_rate:g}, betas {args.adam_beta1:g} and {args.adam_beta2:g}"
    decay = f"weight decay {args.weight_decay:g} on hidden matrices"
    return {
        "muon": f"Muon {args.muon_learning_rate:g} on hidden matrices, {adamw} on the rest, {decay}",
        "adamw": f"{adamw}, {decay}",
        "trainer": f"{OptimizerNames(args.optim).value} {args.learning_rate:g}, weight decay {args.weight_decay:g}",
    }[args.optimizer]


def device_words(args: TrainSettings) -> str:
    if args.device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if args.device.type == "cuda" else args.device.type
    return f"{args.world_size} x {name}"


def schedule_words(args: TrainSettings) -> str:
    kind = SchedulerType(args.lr_scheduler_type).value
    shares = f", linear decay over the last {args.decay_fraction:.0%}" if kind == "warmup_stable_decay" else ""
    return f"{kind}, warm-up {args.warmup_steps:g}{shares}"


def precision(args: TrainSettings) -> str:
    if args.bf16:
        return "bfloat16 autocast over float32 weights"
    return "float16 autocast over float32 weights" if args.fp16 else "float32"
