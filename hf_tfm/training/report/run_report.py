"""What a finished run tells: its picture, its model card, and the lines that use its checkpoint."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import SchedulerType
from transformers.training_args import OptimizerNames

from hf_tfm.cards import DataFacts, RunFacts, Sample, model_card

from ..arguments.run_arguments import Options
from ..arguments.training_arguments import TrainSettings
from ..data.sources import Data
from ..data.splits import SPLITS
from ..loop.trainer import TfmTrainer
from .training_plot import draw_training, nats

__all__ = ["Report"]

ORIGIN = (
    "Made from the sources and documentation that come with CPython (copyright Python Software Foundation and "
    "contributors, PSF licence version 2), read from the interpreter that trained the model. The data change a little "
    "with every Python release: compare results only where the fingerprints are equal. Rows are assigned to splits by "
    "a hash of their content."
)
PICTURE, CARD = "training.png", "README.md"


@dataclass
class Report:
    """Everything that is told about one run, in the output directory and on the screen. `results` holds Trainer's
    names."""

    trainer: TfmTrainer
    options: Options
    results: dict[str, Any]
    samples: list[Sample]
    usage: str

    def __post_init__(self) -> None:
        self.folder = Path(str(self.trainer.settings.output_dir))
        self.model: Any = self.trainer.accelerator.unwrap_model(self.trainer.model)
        self.objective = self.trainer.objective
        note = self.options.data.data_note or ""
        self.data = data_facts(self.trainer.data, self.objective.baselines(self.trainer.data), note)

    def write(self) -> None:
        """Write training.png and README.md."""
        title = f"{self.model.num_parameters():,} parameters, {self.objective.task}\n{self.data.description}"
        draw_training(self.trainer.state.log_history, self.folder / PICTURE, title, self.lines())
        card = model_card(
            name=(self.trainer.settings.hub_model_id or self.folder.resolve().name).split("/")[-1],
            config=self.model.config,
            parameters=self.model.num_parameters(),
            pipeline_tag=self.objective.pipeline_tag,
            results=self.results,
            measures=self.objective.measures,
            data=self.data,
            run=run_facts(self.trainer, self.options, self.results),
            samples=self.samples,
            usage=self.usage,
            notes=self.objective.notes,
        )
        (self.folder / CARD).write_text(card, encoding="utf-8")

    def lines(self) -> dict[str, float]:
        """Baselines that can stand beside the loss: those in bits per byte, as nats per token."""
        if "test_bits_per_byte" not in self.results:
            return {}
        bytes_per_token = self.trainer.data.source_bytes["test"] / self.results["test_scored_tokens"]
        return {
            f"{name}, {bits:.2f} bits per byte": nats(bits, bytes_per_token)
            for name, bits in self.data.baselines.items()
        }

    def text(self) -> str:
        """For the screen: samples, a table of results, what was written, and the lines that use it."""
        shown = "\n\n".join(show(sample) for sample in self.samples)
        kept = sorted(path.name for path in self.folder.iterdir() if path.suffix != ".py")
        written = ", ".join([*kept, "the model's code (*.py)"])
        return (
            f"\n{shown}\n\n{self.table()}\n\nWritten to {self.folder}: {written}\n\n"
            f"Load it and use it:\n\n{self.usage}\n"
        )

    def table(self) -> str:
        """Measured results, one line per measure, and simple methods beside them."""
        measures, results = self.objective.measures, self.results
        rows = [
            [words, *(f"{results[key]:.3f}" if key in results else "" for key in (f"test_{name}", f"eval_{name}"))]
            for name, words in measures.items()
            if f"test_{name}" in results
        ]
        rows += [[f"{name}, same measure", f"{value:.3f}", ""] for name, value in self.data.baselines.items()]
        width = max(len(row[0]) for row in rows)
        lines = [["", "test", "validation"], *rows]
        return "\n".join(f"{words:<{width}}  {test:>10}  {validation:>10}" for words, test, validation in lines)


def show(sample: Sample) -> str:
    """A sample for the screen."""
    told = {"Input": sample.prompt, "Before training": sample.before, "After training": sample.after}
    told |= {"Right": sample.wanted} if sample.wanted else {}
    return "\n".join(f"{name + ':':<18}{text}" for name, text in told.items())


def data_facts(data: Data, baselines: dict[str, float], note: str) -> DataFacts:
    """What the card says of the data."""
    sizes = {name: (len(data.splits[name]), data.source_bytes[name]) for name in SPLITS if name in data.source_bytes}
    return DataFacts(
        description=data.description,
        fingerprint=data.fingerprint,
        sizes=sizes,
        language="en" if data.is_default else None,
        hub_name=data.hub_name,
        baselines=baselines,
        notes=ORIGIN if data.is_default else note,
    )


def run_facts(trainer: TfmTrainer, options: Options, results: dict[str, Any]) -> RunFacts:
    """What the card says of the training."""
    args, state = trainer.settings, trainer.state
    rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    since = f", after going on from {Path(str(trainer.resumed_from)).name}" if trainer.resumed_from else ""
    averaged = {"averaging": f"running mean of the weights, decay {args.ema_decay:g}"} if args.ema_decay else {}
    smoothed = {"label smoothing": f"{args.label_smoothing_factor:g}"} if args.label_smoothing_factor else {}
    facts = {
        "steps": f"{state.global_step:,} of {rows} rows ({state.epoch or 0:.2f} passes over the training split)",
        "tokens": f"{state.num_input_tokens_seen:,} read in all",
        "optimiser": optimizer_words(args),
        "schedule": schedule_words(args),
        "gradient clipping": f"norm {args.max_grad_norm}",
        **averaged,
        **smoothed,
        "precision": precision(args),
        "seed": args.seed,
        "device": device_words(args),
        "training time": f"{results['train_runtime']:.0f} s{since}",
    }
    command = shlex.join(["python", "train.py", *sys.argv[1:]])
    origin = f"trained further from {options.model.init_from}" if options.model.init_from else "trained from scratch"
    return RunFacts(command=command, settings=facts, picture=PICTURE, origin=origin)


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
        processes = f"{args.world_size} processes of " if args.world_size > 1 else ""
        return f"CPU, {processes}{torch.get_num_threads()} threads"
    name = torch.cuda.get_device_name() if args.device.type == "cuda" else args.device.type
    return f"{args.world_size} x {name}"


def schedule_words(args: TrainSettings) -> str:
    kind = SchedulerType(args.lr_scheduler_type).value
    shares = f", linear decay over the last {args.decay_fraction:.0%}" if kind == "warmup_stable_decay" else ""
    return f"{kind}, warm-up {args.warmup_steps:g}{shares}"


def precision(args: TrainSettings) -> str:
    words = "float16 autocast over float32 weights" if args.fp16 else "float32"
    words = "bfloat16 autocast over float32 weights" if args.bf16 else words
    return f"{words}, compiled" if args.torch_compile else words
