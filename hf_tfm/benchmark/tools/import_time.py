"""`hf-tfm bench import`: seconds that `import hf_tfm` adds to the imports of every user of transformers."""

import argparse
import statistics

from tqdm.auto import tqdm

from ..harness.interleaved_timing import spread
from ..harness.options import add_output_options, count, parse_arguments, tool_parser
from ..harness.report import Report, Result, target_for
from ..harness.subprocesses import run_python

__all__ = ["main"]

TRANSFORMERS_IMPORT = "from transformers import AutoConfig, AutoModel, PreTrainedModel"
SCRIPT = f"""
import json, time
{TRANSFORMERS_IMPORT}
started = time.perf_counter()
import hf_tfm
print(json.dumps(time.perf_counter() - started))
"""


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser(
        "import", prog, f"Measure seconds of `import hf_tfm` after `{TRANSFORMERS_IMPORT}`, in fresh processes."
    )
    parser.add_argument("--rounds", type=count, default=9, help="Counted processes.")
    parser.add_argument("--warmup_rounds", type=int, default=1, help="Processes before these that are not counted.")
    add_output_options(parser)
    return parse_arguments(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench import") -> None:
    args = parse(arguments, prog)
    run(args)


def run(args: argparse.Namespace) -> None:
    report = Report.start("import", args)
    processes = range(args.warmup_rounds + args.rounds)
    environment = {"OMP_NUM_THREADS": str(args.threads)}
    seconds = [
        run_python(["-c", SCRIPT], "import hf_tfm", environment)
        for _ in tqdm(processes, desc="import hf_tfm", unit="process", leave=False)
    ][args.warmup_rounds :]
    report.models.append({"model": "hf_tfm", "seconds": seconds})
    result = Result(
        "import hf_tfm", "ours", "transformers alone", statistics.median(seconds), spread(seconds), len(seconds),
        unit="seconds", target=target_for("import", ""), higher_is_better=False,
    )  # fmt: skip
    report.results.append(result)
    report.finish(
        args, "`python -X importtime -c 'import hf_tfm'` shows the time of every module; or `hf-tfm bench all`."
    )
