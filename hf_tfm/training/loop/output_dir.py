"""The output directory of a run: to which run it belongs, and from which checkpoint the run resumes.

A run writes its options to `run.json` before it computes anything. The same command with the same directory resumes
from the last complete checkpoint; a command with other options is refused."""

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
# Marks a checkpoint that is not completely written, as in transformers; see TfmTrainer._save_checkpoint.
INCOMPLETE_MARKER = "checkpoint-is-incomplete.txt"
# Options that change what is written or shown, but not what is learned.
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
    """The output directory of a run, and the checkpoint to resume from, if any. `options`: those of the run by name."""

    path: Path
    resume_from: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    overwrite: bool = False
    is_main_process: bool = True

    def begin_run(self, fingerprint: str) -> None:
        """Write run.json, and delete the previous run if it is to be overwritten, which must wait until the new data
        are read. Only the main process writes and deletes. Raises ValueError if the run resumes with other data."""
        previous = read_run_file(self.path)
        if self.resume_from and previous and previous.get("data") not in (None, fingerprint):
            raise ValueError(
                f"The data have changed since the run in {self.path} started (fingerprint {previous['data']}, now "
                f"{fingerprint}), so it cannot resume. Restore them, or start again with --overwrite_output_dir."
            )
        if not self.is_main_process:
            return
        if self.overwrite:
            delete_previous_run(self.path)
        content = {"options": self.options, "data": fingerprint}
        # os.replace is atomic, so that run.json is complete even if the process is killed here.
        temporary = self.path / f".{RUN_FILE}"
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, self.path / RUN_FILE)


def open_output_dir(run_args: RunArguments) -> OutputDir:
    """The output directory of a run, created if it does not exist.

    Raises FileExistsError if it holds another run, a finished run or other files; ValueError if the checkpoint to
    resume from is missing or incomplete, or its position in a shuffled stream is unknown; OSError if it cannot be
    written."""
    args = run_args.training
    if args.ignore_data_skip and run_args.data.shuffle_buffer:
        raise ValueError(
            "--ignore_data_skip restarts a stream when a run resumes, and with --shuffle_buffer it is unknown which "
            "rows were read; leave out one of them."
        )
    path = Path(str(args.output_dir))
    options = resume_options(run_args)
    resume_from = requested_checkpoint(args.resume_from_checkpoint)
    if resume_from is None and not args.overwrite_output_dir:
        check_same_run(path, options)
        resume_from = last_complete_checkpoint(path)
    if resume_from:
        print(f"Resuming from {resume_from}")
    # All processes must read the directory before one of them writes.
    PartialState().wait_for_everyone()
    if args.should_save:
        check_writable(path)
    return OutputDir(path, resume_from, options, args.overwrite_output_dir, args.should_save)


@contextmanager
def remove_new_files_on_error(folder: str | None) -> Iterator[None]:
    """Deletes the files of a folder that was empty or absent if the block raises, so that the corrected command can use
    the folder."""
    path = Path(str(folder))
    was_empty = not path.is_dir() or not any(path.iterdir())
    try:
        yield
    except Exception:
        for file in path.iterdir() if was_empty and path.is_dir() else ():
            if file.is_file():
                file.unlink(missing_ok=True)
        raise


def resume_options(run_args: RunArguments) -> dict[str, Any]:
    """The options that change what is learned, and the number of processes, as JSON values by name."""
    options = {"world_size": run_args.training.world_size}
    for arguments in run_args:
        for item in dataclasses.fields(arguments):
            if item.name not in RESUME_IGNORED_ARGUMENTS and not item.name.startswith(("hub_", "trackio_", "_")):
                options[item.name] = to_json_value(getattr(arguments, item.name))
    return options


def to_json_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, (bool, int, float, str, type(None), list)) else str(value)


def read_run_file(path: Path) -> dict[str, Any] | None:
    """The content of run.json; None if there is none."""
    try:
        return json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def check_same_run(path: Path, options: dict[str, Any]) -> None:
    """Raises FileExistsError unless a folder is empty or absent, or holds an unfinished run with the same options."""
    advice = "Choose another --output_dir, or add --overwrite_output_dir to replace what is there"
    if not path.is_dir() or not any(path.iterdir()):
        return
    previous = read_run_file(path)
    if previous is None:
        names = ", ".join(sorted(item.name for item in path.iterdir())[:5])
        raise FileExistsError(f"--output_dir {path} holds files that are not of a run of train.py: {names}. {advice}.")
    different = [
        f"{name} ({previous['options'].get(name)} there, {options.get(name)} now)"
        for name in sorted({*previous["options"], *options})
        if previous["options"].get(name) != options.get(name)
    ]
    if different:
        raise FileExistsError(
            f"--output_dir {path} holds another run; different options: {', '.join(different)}. {advice}."
        )
    if (path / RESULT_FILE).exists():
        raise FileExistsError(f"--output_dir {path} holds this run, which is finished. {advice}.")


def requested_checkpoint(name: str | None) -> str | None:
    """The checkpoint of --resume_from_checkpoint; None for the values True and False of other scripts, because a run
    resumes by default. Raises ValueError if it is missing or incomplete."""
    if name is None or name.lower() in ("true", "false"):
        return None
    reason = incomplete_reason(Path(name))
    if reason:
        raise ValueError(
            f"--resume_from_checkpoint {name}: {reason}. Give a complete checkpoint-<steps> folder, or leave the "
            "option out to resume from the last complete one."
        )
    return name


def last_complete_checkpoint(path: Path) -> str | None:
    """The newest complete checkpoint; newer ones that are incomplete are printed."""
    folders = {int(folder.name.split("-")[1]): folder for folder in path.glob("checkpoint-*") if is_numbered(folder)}
    for _, folder in sorted(folders.items(), reverse=True):
        reason = incomplete_reason(folder)
        if reason is None:
            return str(folder)
        print_on_main_process(f"Skipping {folder}: {reason}")
    return None


def is_numbered(folder: Path) -> bool:
    return folder.is_dir() and folder.name.split("-")[1].isdigit()


def incomplete_reason(folder: Path) -> str | None:
    """Why a run cannot resume from a checkpoint; None if it can."""
    if not folder.is_dir():
        return "no such folder"
    if (folder / INCOMPLETE_MARKER).exists():
        return "it is not completely written"
    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except OSError:
        return "trainer_state.json is missing"
    except json.JSONDecodeError:
        return "trainer_state.json is not completely written"
    return None


def delete_previous_run(path: Path) -> None:
    """Delete the files of a previous run, so that they are not mistaken for those of the new one."""
    for checkpoint in path.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    for name in (RUN_FILE, RESULT_FILE, "README.md", "tokenizer.json", "samples.jsonl", "train_results.json"):
        (path / name).unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Create a folder. Raises OSError that names it if no file can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise OSError(f"--output_dir {path} cannot be written: {error.strerror}. Choose another folder.") from error


def check_disk_space(path: Path, parameters: int, checkpoints: int | None) -> None:
    """Raises OSError if the disk has too little free space for the files of a run: 4 bytes per parameter for the model,
    and three times that for each checkpoint (weights and two optimizer states), of which there is one more than is kept
    while it is written."""
    needed = 4 * parameters * (1 + 3 * ((checkpoints or 2) + 1))
    free = shutil.disk_usage(path).free
    if free < needed:
        raise OSError(
            f"The disk of {path} has {free / 1e9:.2f} GB free, and the files of this run need about "
            f"{needed / 1e9:.2f} GB; free some space, choose another --output_dir, or keep fewer checkpoints "
            "(--save_total_limit 1)."
        )
