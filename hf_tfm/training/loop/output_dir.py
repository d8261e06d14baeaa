"""The output directory of a run: whose it is, and from which checkpoint a run resumes.

A run writes `run.json`, its options, before it computes anything. The same command with the same directory resumes from
the last complete checkpoint; another command is refused."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..arguments.run_arguments import RunArguments
from ..utils.printing import print_on_main_process

__all__ = [
    "INCOMPLETE_MARKER",
    "RUN_FILE",
    "OutputDir",
    "check_disk_space",
    "open_output_dir",
    "remove_new_files_on_error",
]

RUN_FILE, RESULT_FILE = "run.json", "all_results.json"
# The host's own sign for a checkpoint whose writing was cut short; see TfmTrainer._save_checkpoint.
INCOMPLETE_MARKER = "checkpoint-is-incomplete.txt"
# Choices that change what is written or shown and not what is learnt.
RESUME_IGNORED_ARGUMENTS = frozenset(
    """data_note output_dir overwrite_output_dir resume_from_checkpoint prompt max_eval_samples metrics disable_tqdm
    report_to run_name project logging_dir logging_strategy logging_first_step logging_steps log_level
    log_level_replica eval_strategy eval_steps eval_delay eval_on_start save_strategy save_steps save_total_limit
    save_only_model enable_jit_checkpoint per_device_eval_batch_size push_to_hub preprocessing_num_workers
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor local_rank
    merge_adapter predict_with_generate generation_max_length generation_num_beams generation_config
    skip_memory_metrics ddp_timeout ddp_find_unused_parameters""".split()
)


@dataclasses.dataclass(frozen=True)
class OutputDir:
    """The output folder of a run, and the checkpoint from which it goes on, if any."""

    path: Path
    resume_from: str | None = None
    choices: dict[str, Any] = dataclasses.field(default_factory=dict)
    overwrite: bool = False
    is_main_process: bool = True

    def begin_run(self, fingerprint: str) -> None:
        """Write run.json; what is to be overwritten goes only now that the new data could be read. Only the main
        process deletes and writes. Raises ValueError if the run goes on and its data are no longer what they were."""
        known = read_run_file(self.path)
        if self.resume_from and known and known.get("data") not in (None, fingerprint):
            raise ValueError(
                f"The data have changed since the run in {self.path} began (fingerprint {known['data']}, now "
                f"{fingerprint}), so it cannot go on as it was. Restore them, or start afresh: --overwrite_output_dir."
            )
        if not self.is_main_process:
            return
        if self.overwrite:
            delete_previous_run(self.path)
        content = {"choices": self.choices, "data": fingerprint}
        # Replaced in one step, so that a run killed here still knows its folder.
        written = self.path / f".{RUN_FILE}"
        written.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(written, self.path / RUN_FILE)


def open_output_dir(run_args: RunArguments) -> OutputDir:
    """The folder that a run may write into, made if need be.

    Raises FileExistsError for a folder of another run, of a finished one, or of something else; ValueError for a
    checkpoint that is not there or not whole, and where a shuffled stream would not be skipped to it; OSError where
    nothing can be written."""
    args = run_args.training
    if args.ignore_data_skip and run_args.data.shuffle_buffer:
        raise ValueError(
            "--ignore_data_skip begins a stream anew on resuming, and with --shuffle_buffer nobody knows which of its "
            "rows were read; leave out one of them."
        )
    path = Path(str(args.output_dir))
    choices = resume_arguments(run_args)
    asked = requested_checkpoint(args.resume_from_checkpoint)
    if asked is None and not args.overwrite_output_dir:
        check_same_run(path, choices)
    found = asked or (None if args.overwrite_output_dir else last_complete_checkpoint(path))
    if found:
        print(f"Going on from {found}")
    # All processes have looked before one of them writes.
    PartialState().wait_for_everyone()
    if args.should_save:
        check_writable(path)
    return OutputDir(path, found, choices, args.overwrite_output_dir, args.should_save)


@contextmanager
def remove_new_files_on_error(folder: str | None) -> Iterator[None]:
    """A folder that was empty or absent holds no files again if the block raises: the corrected command finds it
    free."""
    path = Path(str(folder))
    was_empty = not path.is_dir() or not any(path.iterdir())
    try:
        yield
    except Exception:
        for file in path.iterdir() if was_empty and path.is_dir() else ():
            if file.is_file():
                file.unlink(missing_ok=True)
        raise


def resume_arguments(run_args: RunArguments) -> dict[str, Any]:
    """What decides the course of a run, as plain JSON, by option."""
    named = {"world_size": run_args.training.world_size}
    for part in run_args:
        for item in dataclasses.fields(part):
            if item.name not in RESUME_IGNORED_ARGUMENTS and not item.name.startswith(("hub_", "trackio_", "_")):
                named[item.name] = to_json_value(getattr(part, item.name))
    return named


def to_json_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, (bool, int, float, str, type(None), list)) else str(value)


def read_run_file(path: Path) -> dict[str, Any] | None:
    """What an earlier run wrote of itself, or None."""
    try:
        return json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def check_same_run(path: Path, choices: dict[str, Any]) -> None:
    """FileExistsError unless a folder is empty, absent, or holds the unfinished run of the same choices."""
    ways = "Choose another --output_dir, or start afresh there with --overwrite_output_dir"
    if not path.is_dir() or not any(path.iterdir()):
        return
    known = read_run_file(path)
    if known is None:
        names = ", ".join(sorted(item.name for item in path.iterdir())[:5])
        raise FileExistsError(f"--output_dir {path} holds something that no run of this script left: {names}. {ways}.")
    different = [
        f"{name} ({known['choices'].get(name)} there, {choices.get(name)} now)"
        for name in sorted({*known["choices"], *choices})
        if known["choices"].get(name) != choices.get(name)
    ]
    if different:
        raise FileExistsError(f"--output_dir {path} holds another run; what differs: {', '.join(different)}. {ways}.")
    if (path / RESULT_FILE).exists():
        raise FileExistsError(f"--output_dir {path} holds this run, finished. {ways}.")


def requested_checkpoint(asked: str | None) -> str | None:
    """The checkpoint that the user named. Raises ValueError if it is not there or not whole; True and False are taken
    for words about the run's own folder, where going on is usual anyway."""
    if asked is None or asked.lower() in ("true", "false"):
        return None
    problem = incomplete_reason(Path(asked))
    if problem:
        raise ValueError(
            f"--resume_from_checkpoint {asked}: {problem}. Name a whole checkpoint-<steps> folder, or leave the option "
            "out to go on from the last whole one."
        )
    return asked


def last_complete_checkpoint(path: Path) -> str | None:
    """The newest checkpoint that was written to its end; each newer one that was not is named."""
    folders = {int(folder.name.split("-")[1]): folder for folder in path.glob("checkpoint-*") if is_numbered(folder)}
    for _, folder in sorted(folders.items(), reverse=True):
        problem = incomplete_reason(folder)
        if problem is None:
            return str(folder)
        print_on_main_process(f"Passing over {folder}: {problem}")
    return None


def is_numbered(folder: Path) -> bool:
    return folder.is_dir() and folder.name.split("-")[1].isdigit()


def incomplete_reason(folder: Path) -> str | None:
    """Why a checkpoint cannot be gone on from, or None if it can."""
    if not folder.is_dir():
        return "no such folder"
    if (folder / INCOMPLETE_MARKER).exists():
        return "it was being written when the run ended"
    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except OSError:
        return "trainer_state.json is missing"
    except json.JSONDecodeError:
        return "trainer_state.json is cut off"
    return None


def delete_previous_run(path: Path) -> None:
    """Delete what a run of this script may have left, so that nothing of it is taken for the new one's."""
    for checkpoint in path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    for name in (RUN_FILE, RESULT_FILE, "README.md", "tokenizer.json", "samples.jsonl", "train_results.json"):
        (path / name).unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Make a folder and write into it. Raises OSError that names it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise OSError(f"--output_dir {path} cannot be written: {error.strerror}. Choose another folder.") from error


def check_disk_space(path: Path, parameters: int, checkpoints: int | None) -> None:
    """Raises OSError if a disk has less room than the run's files take: 4 bytes a weight for the model, and three
    times that for each checkpoint (weights and two running means), of which one more than is kept exists at a time."""
    needed = 4 * parameters * (1 + 3 * ((checkpoints or 2) + 1))
    free = shutil.disk_usage(path).free
    if free < needed:
        raise OSError(
            f"The disk of {path} has {free / 1e9:.2f} GB free, and this run's files take about {needed / 1e9:.2f} GB; "
            "free some, choose another --output_dir, or keep fewer checkpoints (--save_total_limit 1)."
        )
