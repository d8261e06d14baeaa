"""`hf-tfm doctor`: check a checkpoint, native or with its own code, for what breaks people, one line each."""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from huggingface_hub import HfApi

from hf_tfm.conversion.checkpoint_files import read_config
from hf_tfm.errors import missing_folder_errors
from hf_tfm.quiet import only_errors_logged
from hf_tfm.usage import loading_lines

from . import behaviour_checks, file_checks, weight_checks
from .checkpoint import Broken, Checkpoint, NotApplicable

__all__ = ["CHECKS", "main"]

# Title -> check: a function that returns a detail, or raises Broken or NotApplicable.
FILE_CHECKS: dict[str, Callable[[Checkpoint], str]] = {
    "files": file_checks.check_weight_names,
    "code": file_checks.check_code,
    "imports": file_checks.check_imports,
    "model type": file_checks.check_model_type,
}
LOAD = "load offline"
MODEL_CHECKS: dict[str, Callable[[Checkpoint], str]] = {
    LOAD: weight_checks.check_load,
    "weights": weight_checks.check_weights,
    "values": weight_checks.check_loaded_values,
    "ties": weight_checks.check_ties,
    "dtype": weight_checks.check_dtype,
    "buffers": weight_checks.check_buffers,
    "save": weight_checks.check_save,
    "accumulation": behaviour_checks.check_accumulation,
    "cache": behaviour_checks.check_cache,
    "padding": behaviour_checks.check_padding,
}
CHECKS = FILE_CHECKS | MODEL_CHECKS
# What a repository has beside the weights that transformers reads.
OTHER_FORMATS = ["*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot", "*.tflite", "onnx/*", "openvino/*", "coreml/*"]
OK, BROKEN, SKIPPED = "ok", "BROKEN", "skipped"


def parse_arguments(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog, description=__doc__, epilog=f"example: {prog} my-model")
    parser.add_argument("checkpoint", help="folder or Hub name of a checkpoint")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub (default: main)")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run the code of the checkpoint, after you have read it"
    )
    return parser.parse_args(arguments)


@only_errors_logged(progress_bars=False)
def main(arguments: list[str] | None = None, prog: str = "hf-tfm doctor") -> None:
    args = parse_arguments(arguments, prog)
    folder = Path(args.checkpoint)
    if not folder.exists():
        with missing_folder_errors(args.checkpoint):
            downloaded = HfApi().snapshot_download(
                args.checkpoint, revision=args.revision, ignore_patterns=OTHER_FORMATS
            )
        folder = Path(downloaded)
    checkpoint = Checkpoint(folder, read_config(str(folder)), args.trust_remote_code)
    counts = {OK: 0, BROKEN: 0, SKIPPED: 0}
    for title, status, text in results(checkpoint):
        counts[status] += 1
        print(f"{status:<8} {title:<13} {text}", flush=True)
    end(args.checkpoint, args.revision, checkpoint, counts)


def results(checkpoint: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """(title, status, text) of each check that may run. After a model that does not load, none of its checks can."""
    runs_code = not checkpoint.needs_code or checkpoint.trust_remote_code
    for title, check in (CHECKS if runs_code else FILE_CHECKS).items():
        status, text = run(check, checkpoint)
        yield title, status, text
        if title == LOAD and status == BROKEN:
            later = [*MODEL_CHECKS][1:]
            yield from ((other, SKIPPED, "the model does not load") for other in later)
            return


def run(check: Callable[[Checkpoint], str], checkpoint: Checkpoint) -> tuple[str, str]:
    """The status and the text of one check. Any error of a model is one of the checkpoint."""
    try:
        with torch.random.fork_rng(devices=[]):
            return OK, check(checkpoint)
    except NotApplicable as reason:
        return SKIPPED, str(reason)
    except Broken as problem:
        return BROKEN, str(problem)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raised = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:300]
        return BROKEN, f"{type(error).__name__}: {text} ({Path(raised.filename).name}:{raised.lineno} raises it)"


def end(name: str, revision: str | None, checkpoint: Checkpoint, counts: dict[str, int]) -> None:
    """Prints the sum and what to run next; exits with status 1 if something is broken. Raises ValueError if the code of
    the checkpoint was not trusted."""
    found = ", ".join(f"{count} {status.lower()}" for status, count in counts.items())
    print(f"\n{name}: {found}. Nothing was written.")
    if checkpoint.needs_code and not checkpoint.trust_remote_code:
        code = ", ".join(sorted({str(value) for value in checkpoint.auto_map.values()})[:2])
        raise ValueError(
            f"{name} runs code of its own ({code}), and {len(MODEL_CHECKS)} checks need it; read it, and add "
            "--trust_remote_code to let it run."
        )
    if counts[BROKEN]:
        print(f"Next: mend the lines above, and run again: hf-tfm doctor {name}")
        sys.exit(1)
    if Path(name).exists():
        print(f"Next: hf-tfm push {name} user/model --dry_run")
        return
    files = [path.name for path in checkpoint.folder.iterdir()]
    print(f"Next:\n\n{loading_lines(checkpoint.fields, files, name, revision)}")
