"""The output directory of a run: to which run it belongs, and from which checkpoint the run resumes.

A run writes its options to `run.json` before it computes anything, and there also that it is finished, when everything
is written and pushed. Until then the same command with the same directory resumes from the last whole checkpoint, and
repeats what comes after training; a command with other options is refused."""

import dataclasses
import inspect
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SaveStrategy

from hf_tfm.privacy import shareable

from ..arguments.run_arguments import RunArguments
from ..arguments.training_arguments import TfmTrainingArguments
from ..preprocessing.rows import DROPPED_ROWS_FILE
from ..utils.files import is_full_disk, write_atomically
from .batch_sizes import BATCH_OPTIONS, batch_sizes, different_batches
from .checkpoints import checkpoint_folders, fault, last_saved, last_whole_checkpoint
from .directory_lock import LOCK_FILE, DirectoryLock
from .distributed import on_main_process
from .spikes import SPIKES_FILE

__all__ = [
    "PAGE_BYTES",
    "RUN_FILE",
    "OutputDir",
    "check_disk_space",
    "check_run_has_ended",
    "full_disk_errors",
    "open_output_dir",
    "read_run_file",
]

RUN_FILE, RESULT_FILE = "run.json", "all_results.json"
# Everything that a run leaves in its directory, except code and checkpoints. A new run deletes it, so that the weights
# and results of the previous one are not taken for its own.
RUN_FILES = (
    RUN_FILE, "*_results.json", "README.md", "training.png", "inspect.html", "samples.jsonl", "trainer_state.json",
    "training_args.bin", "tokenizer*.json", "config.json", "generation_config.json", "model.safetensors*",
    "model-*-of-*.safetensors", "adapter_model.safetensors", "adapter_config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", DROPPED_ROWS_FILE, SPIKES_FILE,
)  # fmt: skip
# Options that change what is written or shown, but not what is learned.
RESUME_IGNORED_ARGUMENTS = frozenset(
    """data_note output_dir overwrite_output_dir resume_from_checkpoint prompt report inspect_page max_eval_samples
    metrics disable_tqdm report_to run_name project
    logging_dir logging_strategy logging_first_step logging_steps log_level
    log_level_replica eval_strategy eval_steps eval_delay eval_on_start save_strategy save_steps save_total_limit
    save_only_model per_device_eval_batch_size push_to_hub preprocessing_num_workers
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor local_rank
    merge_adapter predict_with_generate generation_max_length generation_num_beams generation_config
    skip_memory_metrics ddp_timeout ddp_find_unused_parameters fsdp_size tp_size""".split()
)
# Bytes of the page of a sample: 0.2 to 1.6 million were measured.
PAGE_BYTES = 2_000_000
# With early stopping these decide what is learned.
EVALUATION_ARGUMENTS = frozenset("eval_strategy eval_steps eval_delay max_eval_samples predict_with_generate".split())


@dataclasses.dataclass(frozen=True)
class OutputDir:
    """The output directory of a run, and the checkpoint to resume from, if any. `options`: those of the run by name.
    The main process holds the lock until `close`."""

    path: Path
    resume_from: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    overwrite: bool = False
    is_main_process: bool = True
    lock: DirectoryLock | None = None

    def begin_run(self, fingerprint: str) -> None:
        """Write run.json, and delete the previous run if it is to be overwritten, which must wait until the new data
        are read. Only the main process writes and deletes. Raises ValueError if the run resumes with other data."""
        previous = None if self.overwrite else read_run_file(self.path)
        if self.resume_from and previous and previous["data"] != fingerprint:
            raise ValueError(
                f"The data have changed since the run in {self.path} started (fingerprint {previous['data']}, now "
                f"{fingerprint}), so it cannot resume. Restore them, or start again with --overwrite_output_dir."
            )
        if not self.is_main_process:
            return
        if self.overwrite:
            delete_previous_run(self.path)
        self.write_run_file(fingerprint, finished=False)

    def finish_run(self) -> None:
        """Note in run.json that nothing remains to be done. Only the main process writes."""
        begun = read_run_file(self.path) if self.is_main_process else None
        if begun:
            self.write_run_file(begun["data"], finished=True)

    def write_run_file(self, fingerprint: str, finished: bool) -> None:
        content = {"options": self.options, "data": fingerprint, "finished": finished}
        write_atomically(self.path / RUN_FILE, json.dumps(content, indent=1, sort_keys=True) + "\n")

    @contextmanager
    def remove_new_files_on_error(self) -> Iterator[None]:
        """Deletes everything in a folder that was empty if the block does not end, so that the corrected command can
        use the folder."""
        was_empty = not entries(self.path)
        try:
            yield
        except BaseException:
            for item in entries(self.path) if was_empty and self.is_main_process else ():
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            raise

    def close(self) -> None:
        """Let other processes use the directory."""
        if self.lock:
            self.lock.release()


def open_output_dir(run_args: RunArguments) -> OutputDir:
    """The output directory of a run, created if it does not exist, and locked.

    Raises FileExistsError if it holds another run, a finished run or other files; BlockingIOError if another process
    uses it; ValueError if no checkpoint is whole, if the one to resume from is not, or if its position in a shuffled
    stream is unknown; OSError if it cannot be written."""
    args = run_args.training
    if args.ignore_data_skip and run_args.data.shuffle_buffer:
        raise ValueError(
            "--ignore_data_skip restarts a stream when a run resumes, and with --shuffle_buffer it is unknown which "
            "rows were read; leave out one of them."
        )
    path, lock = Path(str(args.output_dir)), DirectoryLock(Path(str(args.output_dir)))
    if args.overwrite_output_dir:
        check_nothing_needed_is_deleted(run_args, path)
    options = resume_options(run_args)
    # one process decides for all: it reads every byte of a checkpoint
    resume_from = on_main_process(lambda: choose_checkpoint(run_args, path, options, lock))
    if resume_from:
        print(f"Resuming from {resume_from}")
    return OutputDir(path, resume_from, options, args.overwrite_output_dir, args.should_save, lock)


def choose_checkpoint(run_args: RunArguments, path: Path, options: dict[str, Any], lock: DirectoryLock) -> str | None:
    """The checkpoint from which the run resumes, if any; the directory is locked before it is read."""
    args = run_args.training
    requested = requested_checkpoint(args)
    check_writable(path)
    lock.acquire()
    try:
        if requested or args.overwrite_output_dir:
            return requested
        check_same_run(path, options, args)
        return last_whole_checkpoint(path, args)
    except BaseException:
        lock.release()
        raise


def check_nothing_needed_is_deleted(run_args: RunArguments, path: Path) -> None:
    """Raises ValueError if --overwrite_output_dir would delete what another option names."""
    sources = {
        "init_from": run_args.model.init_from,
        "config_file": run_args.model.config_file,
        "tokenizer_name": run_args.task.tokenizer_name,
        "resume_from_checkpoint": requested_name(run_args.training.resume_from_checkpoint),
    }
    for option, source in sources.items():
        if source and Path(source).exists() and Path(source).resolve().is_relative_to(path.resolve()):
            raise ValueError(
                f"--overwrite_output_dir would delete --{option} {source}, which is in --output_dir {path}; choose "
                "another --output_dir."
            )


def check_run_has_ended(source: str) -> None:
    """Raises ValueError if a folder is that of a run that has not ended. It has no weights, or none of its own."""
    path = Path(source)
    if not (path / RUN_FILE).is_file() or (path / RESULT_FILE).exists():
        return
    last = last_saved(path)
    alternative = f"take its last checkpoint, {last}" if last else "it has no checkpoint yet"
    raise ValueError(
        f"{source} holds a run that has not ended, and no weights; let the command that started it finish it, or "
        f"{alternative}."
    )


@contextmanager
def full_disk_errors(output_dir: str | None) -> Iterator[None]:
    """Turns the many errors of a full disk into an OSError that names the checkpoint that remains."""
    path = Path(str(output_dir))
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        last = last_saved(path)
        resumes = f"the same command resumes from {last}" if last else "the same command starts again"
        text = " ".join(str(error).split())
        raise OSError(f"The disk of {path} is full ({text}). Free some space; {resumes}.") from error


def entries(path: Path) -> list[Path]:
    """What a folder holds, except the lock of this process."""
    return sorted(item for item in path.iterdir() if item.name != LOCK_FILE)


def resume_options(run_args: RunArguments) -> dict[str, Any]:
    """The options that change what is learned, and the rows of a step, as JSON values by name. A file is named without
    its folder: run.json may be shared, and the fingerprint tells data apart."""
    args = run_args.training
    follows_data = args.length_is_default and (run_args.data.train_file or run_args.data.dataset_name)
    stops_early = args.early_stopping_patience or follows_data
    ignored = RESUME_IGNORED_ARGUMENTS - (EVALUATION_ARGUMENTS if stops_early else frozenset())
    options: dict[str, Any] = dict(batch_sizes(args))
    for arguments in run_args:
        for item in dataclasses.fields(arguments):
            if item.name not in ignored and not item.name.startswith(("hub_", "trackio_", "_")):
                options[item.name] = to_json_value(getattr(arguments, item.name))
    return options


def to_json_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return shareable(value if isinstance(value, (bool, int, float, str, type(None), list)) else str(value))


def read_run_file(path: Path) -> dict[str, Any] | None:
    """The content of run.json; None if there is none. Raises ValueError if it is damaged."""
    try:
        content = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        if not (isinstance(content["options"]["rows_per_step"], int) and isinstance(content["data"], str)):
            raise TypeError(RUN_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path / RUN_FILE} is damaged, so it is unknown which run {path} holds. Restore it, start again with "
            "--overwrite_output_dir, or go on in another --output_dir with --resume_from_checkpoint "
            f"{last_saved(path) or path / 'checkpoint-<steps>'}."
        ) from error
    return content


def check_same_run(path: Path, options: dict[str, Any], args: TfmTrainingArguments) -> None:
    """Raises FileExistsError unless a folder is empty or absent, or holds an unfinished run with the same options,
    whose steps read the same rows."""
    advice = "Choose another --output_dir, or add --overwrite_output_dir to replace what is there"
    if not path.is_dir() or not entries(path):
        return
    previous = read_run_file(path)
    if previous is None:
        names = ", ".join(item.name for item in entries(path)[:5])
        raise FileExistsError(f"--output_dir {path} holds files that are not of a run of train.py: {names}. {advice}.")
    different = [
        f"{name} ({previous['options'].get(name)} there, {options.get(name)} now)"
        for name in sorted({*previous["options"], *options} - {"rows_per_step", *BATCH_OPTIONS})
        if previous["options"].get(name) != options.get(name)
    ]
    if different:
        raise FileExistsError(
            f"--output_dir {path} holds another run; different options: {', '.join(different)}. {advice}."
        )
    if previous.get("finished"):
        raise FileExistsError(f"--output_dir {path} holds this run, which is finished. {advice}.")
    other_rows = different_batches(previous["options"], args)
    if other_rows:
        raise FileExistsError(f"--output_dir {path} holds this run, but {other_rows}.")


def requested_name(name: str | None) -> str | None:
    """The checkpoint of --resume_from_checkpoint; None for the values True and False of other scripts, because a run
    resumes by default."""
    return None if name is None or name.lower() in ("true", "false") else name


def requested_checkpoint(args: TfmTrainingArguments) -> str | None:
    """The checkpoint of --resume_from_checkpoint. Raises ValueError if the run cannot resume from it."""
    name = requested_name(args.resume_from_checkpoint)
    reason = fault(Path(name), args) if name else None
    if reason:
        raise ValueError(
            f"--resume_from_checkpoint {name}: {reason}. Give a whole checkpoint-<steps> folder, or leave the "
            "option out to resume from the last one."
        )
    return name


def delete_previous_run(path: Path) -> None:
    """Delete the files of a previous run, so that they are not mistaken for those of the new one."""
    for checkpoint in checkpoint_folders(path):
        shutil.rmtree(checkpoint)
    for pattern in RUN_FILES:
        for file in path.glob(pattern):
            file.unlink()


def check_writable(path: Path) -> None:
    """Create a folder. Raises OSError that names it if no file can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise OSError(f"--output_dir {path} cannot be written: {error.strerror}. Choose another folder.") from error


def check_disk_space(path: Path, model: Any, args: TfmTrainingArguments) -> None:
    """Raises OSError if the disk has too little free space for the files of a run: the model, the page of a sample, and
    all that is kept of checkpoints, of which there is one more while it is written. Each checkpoint has the weights
    (and two optimizer states and the average of --ema_decay, if it has them), the model's code and the tokenizer."""
    weights = 4 * model.num_parameters()
    states = 0 if args.save_only_model else 2 * weights + (weights if args.ema_decay else 0)
    code = sum(file.stat().st_size for file in Path(inspect.getfile(type(model))).parent.glob("*.py"))
    tokenizer = sum(file.stat().st_size for file in path.glob("tokenizer*.json"))
    # the best one is kept beside the last one
    kept = max(args.save_total_limit or 2, 2 if args.early_stopping_patience else 1)
    checkpoints = 0 if args.save_strategy == SaveStrategy.NO else kept + 1
    needed = (weights + code + tokenizer) * (1 + checkpoints) + states * checkpoints
    needed += PAGE_BYTES if args.report and args.inspect_page else 0
    # a resumed run has written a part of them
    needed -= sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    free = shutil.disk_usage(path).free
    if free < needed:
        raise OSError(
            f"The disk of {path} has {free / 1e9:.2f} GB free, and the files of this run need about "
            f"{needed / 1e9:.2f} GB; free some space, choose another --output_dir, or keep fewer checkpoints "
            "(--save_total_limit 1)."
        )
