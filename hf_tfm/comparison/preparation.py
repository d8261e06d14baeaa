"""What a plan needs to know of each arm before anything runs: its options, its model's sizes, and its data.

Arms that read the same data with the same tokenizer share them."""

import contextlib
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError  # pyright: ignore[reportPrivateImportUsage]

from hf_tfm.errors import describe
from hf_tfm.inspection.model_costs import costs
from hf_tfm.training.cli.parser import option_value, parse_arguments
from hf_tfm.training.loop.model_creation import choose_model_type, make_model, max_positions
from hf_tfm.training.loop.output_dir import OutputDir
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.training_run import prepare_data

from .arms import OWN_OPTIONS, Arm, check_names, unknown_settings
from .probes import PROBES
from .solve import Sizes

__all__ = ["Preparation", "PreparedArm", "train_arguments"]

# training rows of which the mean length is taken
MEASURED_ROWS = 256


def train_arguments(shared: list[str], arm: Arm) -> list[str]:
    """The arguments of train.py for an arm: those of all arms, then its own."""
    return [*shared, *arm.arguments(option_value("config_overrides", shared))]


def parse_options(arguments: list[str]) -> Any:
    """The options of a run. Raises ValueError with the parser's message."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            return parse_arguments(arguments)
        except SystemExit as ended:
            message = said.getvalue().rpartition("error: ")[2].strip()
            raise ValueError(message or "train.py does not take these options.") from ended


@dataclass(frozen=True)
class PreparedArm:
    """An arm with its options, data, tokenizer and examples. `tokens_per_row`, `sequence_length`: means over the first
    training rows; a row holds several sequences in tasks with choices or pairs. `seconds`: that data, tokenizer and
    examples took; `processes`: of a run, which read rows of their own unless they share out a layer."""

    arm: Arm
    run_args: Any
    data: Any
    tokenizer: Any
    examples: dict[str, Any]
    tokens_per_row: float
    sequence_length: int
    seconds: float = 0.0
    processes: int = 1

    @property
    def tokens_per_step(self) -> float:
        args = self.run_args.training
        return self.tokens_per_row * args.rows_per_step * max(self.processes // args.tp_size, 1)


class Preparation:
    """The arms of a comparison, ready to be planned. `shared`: arguments of train.py for all arms; `processes`: of a
    run."""

    def __init__(self, shared: list[str], processes: int = 1) -> None:
        self.shared, self.processes = shared, processes
        self.prepared_data: dict[Any, tuple[Any, Any, dict[str, Any], float]] = {}

    def prepare_all(self, arms: list[Arm], probes: Sequence[str] = ()) -> list[PreparedArm]:
        """Raises ValueError with all that is wrong, in one message, if any arm is illegal, or a probe does not fit."""
        problems, prepared = check_names(arms) + self.own_options(), []
        refused: dict[str, list[str]] = {}
        for arm in arms:
            found = unknown_settings(arm)
            try:
                if not found:
                    prepared.append(self.prepare(arm))
                    config, run_args = self.sizes_of(prepared[-1], arm).config, prepared[-1].run_args
                    reasons = (PROBES[name]().refusal(config, run_args) for name in probes)
                    found = [reason for reason in reasons if reason]
            except (ValueError, TypeError, OSError, StrictDataclassError) as error:
                found = [describe(error, "")]
            for problem in found:
                refused.setdefault(problem, []).append(arm.name)
        for problem, names in refused.items():
            # data that cannot be read are refused once, not once for every arm
            problems.append(problem if len(names) == len(arms) > 1 else f"arm {', '.join(names)}: {problem}")
        if problems:
            raise ValueError(refusal(problems))
        return prepared

    def own_options(self) -> list[str]:
        own = sorted(OWN_OPTIONS - {"config_overrides", "max_steps"})
        given = [name for name in own if option_value(name, self.shared) is not None]
        return [f"--{name} is set by the comparison itself; leave it out." for name in given]

    def prepare(self, arm: Arm) -> PreparedArm:
        """Reads the data, and trains the tokenizer, unless an arm before it had the same."""
        run_args = parse_options(train_arguments(self.shared, arm))
        objective = OBJECTIVES[run_args.training.task](run_args.task, run_args.training.seed)
        model = run_args.model
        key = (
            repr(run_args.data), repr(run_args.task), run_args.training.task, choose_model_type(model, objective),
            max_positions(model), model.init_from, model.config_file, model.overrides.get("type_vocab_size"),
        )  # fmt: skip
        if key not in self.prepared_data:
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                read = prepare_data(run_args, OutputDir(Path(folder)))
            self.prepared_data[key] = (*read, time.perf_counter() - began)
        data, tokenizer, examples, seconds = self.prepared_data[key]
        return PreparedArm(
            arm, run_args, data, tokenizer, examples, *row_lengths(examples["train"]), seconds, self.processes
        )

    def sizes_of(self, prepared: PreparedArm, arm: Arm) -> Sizes:
        """The sizes of an arm that differs from a prepared one in solved sizes only. Nothing is initialised."""
        run_args = parse_options(train_arguments(self.shared, arm)) if arm.solved else prepared.run_args
        on_meta = contextlib.nullcontext() if run_args.model.init_from else torch.device("meta")
        with on_meta:
            model = make_model(run_args.model, prepared.data.objective, prepared.tokenizer)
        total = costs(model, 1, prepared.sequence_length, with_activations=False)[-1]
        return Sizes(model.num_parameters(), total.flops_causal, model.config)

    def solver(self, prepared: PreparedArm) -> Callable[[Arm], Sizes]:
        """`sizes_of` for one arm, each size computed once."""
        known: dict[Any, Sizes] = {}

        def sizes(arm: Arm) -> Sizes:
            key = tuple(sorted(arm.solved.items()))
            if key not in known:
                known[key] = self.sizes_of(prepared, arm)
            return known[key]

        return sizes

    def solved(self, prepared: PreparedArm, arm: Arm) -> PreparedArm:
        """The same arm with solved sizes."""
        return replace(prepared, arm=arm, run_args=parse_options(train_arguments(self.shared, arm)))


def refusal(problems: list[str]) -> str:
    """All that is wrong, as one sentence each."""
    return f"Nothing was run. {' '.join(f'({number}) {problem}' for number, problem in enumerate(problems, 1))}"


def row_lengths(rows: Any) -> tuple[float, int]:
    """Mean tokens per row, and mean tokens of its sequences, over the first rows."""
    tokens, sequences, count = 0, 0, 0
    for row in itertools.islice(iter(rows), MEASURED_ROWS):
        ids = [value for name, value in row.items() if name.endswith("input_ids")]
        lengths = [length for value in ids for length in sequence_lengths(value)]
        tokens, sequences, count = tokens + sum(lengths), sequences + len(lengths), count + 1
    if not sequences:
        raise ValueError("the training rows hold no input_ids, so the FLOPs of a row are unknown.")
    return tokens / count, max(1, round(tokens / sequences))


def sequence_lengths(value: Any) -> list[int]:
    """Lengths of one sequence of ids, or of several."""
    return [len(part) for part in value] if len(value) and hasattr(value[0], "__len__") else [len(value)]
