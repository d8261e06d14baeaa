"""`hf-tfm bench import`: seconds that `import hf_tfm` adds to what every user of transformers imports anyway."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tqdm.auto import tqdm

from .measure import spread
from .options import add_writing, arguments_of, reported, tool_parser
from .report import Report, Result, target_of

__all__ = ["main"]

HOST = "from transformers import AutoConfig, AutoModel, PreTrainedModel"
SCRIPT = f"""
import json, time
{HOST}
started = time.perf_counter()
import hf_tfm
print(json.dumps(time.perf_counter() - started))
"""


def parse(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = tool_parser("import", prog, f"Seconds of `import hf_tfm` after `{HOST}`, each time in a fresh process.")
    parser.add_argument("--rounds", type=int, default=9, help="Processes that count.")
    parser.add_argument("--warmup_rounds", type=int, default=1, help="Processes before, not counted.")
    add_writing(parser)
    return arguments_of(parser, arguments)


def main(arguments: list[str] | None = None, prog: str = "hf-tfm bench import") -> None:
    args = parse(arguments, prog)
    reported(prog, lambda: run(args))


def run(args: argparse.Namespace) -> None:
    report = Report.begun("import", args)
    seconds = [
        one_process(args.threads)
        for _ in tqdm(range(args.warmup_rounds + args.rounds), desc="import hf_tfm", unit="process", leave=False)
    ][args.warmup_rounds :]
    report.contenders.append({"name": "hf_tfm", "seconds": seconds})
    result = Result(
        "import hf_tfm", "ours", "transformers alone", statistics.median(seconds), spread(seconds), len(seconds),
        unit="seconds", target=target_of("import", ""), least=False,
    )  # fmt: skip
    report.results.append(result)
    report.finish(args, "python -X importtime -c 'import hf_tfm' lists what takes how long; or `hf-tfm bench all`.")


def one_process(threads: int) -> float:
    """Raises RuntimeError with the end of its messages if the process fails."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"`import hf_tfm` failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
