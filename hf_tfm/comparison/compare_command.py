"""`hf-tfm compare`: which design is better for your data, at equal compute, and how sure that is."""

import argparse
import contextlib
import io
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["main"]

DESCRIPTION = """Trains every arm with the same data, seeds and evaluation: first a sweep of learning rates, then the
seeds at the best rate, and compares the results on the validation split with the first arm, the baseline. Every other
option is one of train.py and holds for all arms (--task, --train_file, --hidden_size ...; python train.py --help). The
same command goes on where it was interrupted."""
EPILOG = """examples: hf-tfm compare --vary position_type=rotary,alibi,none --vary qk_norm=none,head --budget 2e13;
hf-tfm compare --arm "base:" --arm "sandwich: residual_type=sandwich" --train_file my.txt --budget 20M-tokens;
hf-tfm compare runs/compare prints a comparison again"""


def make_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="print the comparison in this folder, and run nothing"
    )
    parser.add_argument(
        "--vary", action="append", default=[], metavar="FIELD=WORD,WORD",
        help="values of a field of the configuration or an option of train.py; several --vary are crossed",
    )  # fmt: skip
    parser.add_argument(
        "--arm", action="append", default=[], metavar='"NAME: FIELD=WORD ..."',
        help="one arm; nothing after the colon: the defaults",
    )  # fmt: skip
    parser.add_argument("--arms", type=Path, metavar="FILE", help="arms from YAML or JSON: {name: {field: value}}")
    parser.add_argument(
        "--budget", default="flops", metavar="BUDGET",
        help="what is equal for all arms: FLOPs of training (2e13), 20M-tokens, 300s, or flops, tokens or parameters "
        "as the baseline has them (default: flops)",
    )  # fmt: skip
    parser.add_argument(
        "--solve", choices=("feed_forward", "width", "depth", "steps"),
        help="size of an arm that is solved so that it costs what the baseline costs, within 1 %%: per token, or in "
        "parameters; steps: no size (default: feed_forward for FLOPs and parameters, else steps)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each arm (default: 5)")
    parser.add_argument("--rates", type=int, default=3, metavar="N", help="learning rates of each arm (default: 3)")
    parser.add_argument(
        "--most_rates", type=int, default=7, metavar="N",
        help="limit of a sweep that is extended while the best rate stands at its edge (default: 7)",
    )  # fmt: skip
    parser.add_argument("--rate_factor", type=float, default=2.0, help="factor between two rates (default: 2)")
    parser.add_argument("--measure", help="result on the validation split to compare by (default: the task's own)")
    parser.add_argument(
        "--probes", metavar="NAME,NAME",
        help="what else is measured for each seed: recall (associative recall, by a small model of the arm's design), "
        "induction (repeated random text), length (text at 1, 2 and 4 times the training length), or all",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, metavar="N",
        help="runs side by side, which share the threads (default: one for each GPU, else 1)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="processes of each run, started by torchrun on this machine, for --fsdp_size, --tp_size or more rows in a "
        "step (default: 1)",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="print the plan, and run nothing")
    parser.add_argument(
        "--add", action="store_true", help="extend the comparison in --output_dir by arms, seeds, probes or most_rates"
    )
    parser.add_argument("--output_dir", type=Path, default=Path("runs/compare"), help="default: runs/compare")
    return parser


def split_arguments(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those of train.py. The values of an option follow it."""
    own, shared = [], []
    is_own = True
    for argument in arguments:
        if argument.startswith("-") and not argument[1:2].isdigit():
            is_own = argument.partition("=")[0] in parser._option_string_actions
        (own if is_own else shared).append(argument)
    return own, shared


def check_numbers(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers with which nothing can be compared."""
    if args.seeds < 2:
        raise ValueError(f"--seeds {args.seeds}: a difference needs a spread; give at least 2, 5 is usual.")
    if args.rates < 3 or args.most_rates < args.rates:
        raise ValueError(
            f"--rates {args.rates} --most_rates {args.most_rates}: give at least 3 rates, since the best must have one "
            "on both sides, and a limit that is not lower."
        )
    if args.rate_factor <= 1:
        raise ValueError(f"--rate_factor {args.rate_factor:g} must be above 1; 2 is usual.")
    for name in ("jobs", "processes"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name} {number} must be at least 1.")


def make_request(args: argparse.Namespace, shared: list[str]) -> Any:
    """What the command asks for. Raises ValueError if it compares nothing."""
    from .arms import crossed_arms, named_arm, read_arms
    from .budget import default_solve, parse_budget
    from .plan import Request
    from .probes import chosen_probes

    arms = [*crossed_arms(args.vary), *map(named_arm, args.arm), *(read_arms(args.arms) if args.arms else [])]
    if len(arms) < 2:
        raise ValueError(
            f"{len(arms)} arm(s) are nothing to compare; give two or more, such as --vary position_type=rotary,alibi, "
            "or a FOLDER to print."
        )
    budget = parse_budget(args.budget)
    how = args.solve or default_solve(budget)
    numbers = (args.seeds, args.rates, args.most_rates, args.rate_factor)
    probes = chosen_probes(args.probes) if args.probes is not None else ()
    return Request(tuple(arms), tuple(shared), budget, how, *numbers, args.measure, probes, args.processes)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm compare") -> None:
    parser = make_parser(prog)
    own, shared = split_arguments(parser, sys.argv[1:] if arguments is None else arguments)
    args = parser.parse_args(own)
    if args.folder is not None:
        if shared or len(own) > 1:
            raise ValueError(f"{args.folder} is printed and nothing else is done; leave out the other arguments.")
        print_again(args.folder)
        return
    check_numbers(args)
    compare(args, make_request(args, shared), shared)


def compare(args: argparse.Namespace, request: Any, shared: list[str]) -> None:
    """Plan, run and report."""
    import torch

    from hf_tfm.training.loop.directory_lock import DirectoryLock

    from .plan import write_plan
    from .report import plan_text
    from .run_process import GPUS, gpu_groups
    from .runs import read_outcomes

    gpus = gpu_groups(args.processes)
    if gpus:
        # Trainer would share out the steps that are measured among all GPUs. CUDA reads the variable when something
        # looks for a GPU first, as the import of the workers does.
        os.environ[GPUS] = gpus[0].partition(",")[0]
    from .workers import Workers

    args.jobs = args.jobs or max(1, len(gpus))
    folder, threads = args.output_dir, max(1, torch.get_num_threads() // (args.jobs * args.processes))
    plan = find_plan(args, request, shared, threads)
    print(plan_text(plan, args.jobs) + "\n", flush=True)
    if args.plan:
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(folder)
    lock.acquire()
    try:
        write_plan(plan, folder)
        outcomes = read_outcomes(plan, folder)
        try:
            Workers(plan, shared, folder, args.jobs, threads, gpus).run_all(outcomes)
        finally:
            print(report(plan, outcomes, folder), flush=True)
    finally:
        lock.release()


def find_plan(args: argparse.Namespace, request: Any, shared: list[str], threads: int) -> Any:
    """The plan in the folder, or a new one. Raises FileExistsError if the folder holds another comparison."""
    from .plan import check_same_request, make_plan, read_plan

    known = read_plan(args.output_dir)
    if known is not None:
        check_same_request(known, request, args.output_dir, args.add)
        if known.request == request.recorded():
            return known
    elif args.add:
        raise ValueError(f"--add extends a comparison, and there is none in {args.output_dir}; leave it out.")

    from .preparation import Preparation
    from .run_times import run_times

    # what the data say about themselves stands in the plan
    with contextlib.redirect_stdout(io.StringIO()):
        return make_plan(request, Preparation(shared, request.processes), partial(run_times, threads=threads), known)


def report(plan: Any, outcomes: Any, folder: Path) -> str:
    """Write the files and the picture; the text of compare.md, and where the files are."""
    from .files import write_files
    from .plots import plot_comparison
    from .report import report_text
    from .results import compare_arms

    results = compare_arms(plan, outcomes)
    written = [*write_files(plan, results, outcomes, folder), plot_comparison(plan, results, outcomes, folder)]
    return f"{report_text(plan, results, outcomes, str(folder))}\nWritten: {', '.join(map(str, written))}"


def print_again(folder: Path) -> None:
    """Print the comparison in a folder, finished or not. Raises ValueError if there is none."""
    from .files import read_failures
    from .plan import read_plan
    from .runs import read_outcomes

    plan = read_plan(folder)
    if plan is None:
        raise ValueError(f"{folder} holds no comparison (no plan.json); hf-tfm compare --help shows how to start one.")
    print(report(plan, read_outcomes(plan, folder, read_failures(plan, folder)), folder))
