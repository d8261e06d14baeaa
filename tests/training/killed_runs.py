"""Runs of train.py that are killed, stopped by a signal, or meet a full disk, at a chosen moment."""

import json
import os
import resource

from transformers import TrainerCallback

from hf_tfm.training.loop import trainer as trainers
from hf_tfm.training.report import run_report

from .test_train import SMALL_MODEL, kill_this_process

COMMON = {
    **SMALL_MODEL, "hidden_dropout": 0.1, "vocab_size": 300, "block_size": 16, "per_device_train_batch_size": 4,
    "logging_steps": 1, "eval_steps": 5, "save_steps": 3, "warmup_steps": 1, "max_steps": 10, "prompt": "The 7",
    "disable_tqdm": True, "save_total_limit": 2,
}  # fmt: skip
SPLITS = {"train_file": "few.jsonl", "validation_file": "few.jsonl", "test_file": "few.jsonl"}
STREAMED = {**SPLITS, "train_file": "train.jsonl", "streaming": True}
OWN = {**COMMON, "train_file": "own.txt"}
# name -> options, step at which the process is killed, its last checkpoint, complete epochs in that checkpoint
RUNS = {
    "masked-lm": (
        {
            **COMMON, **SPLITS, "task": "masked-lm", "mask_unit": "whole_word", "optimizer": "adamw",
            "label_smoothing_factor": 0.1, "train_sampling_strategy": "group_by_length", "dataloader_num_workers": 1,
            "max_steps": -1, "num_train_epochs": 3,
        },
        8, 6, 1,
    ),
    "seq2seq": ({**COMMON, "task": "seq2seq", "train_file": "pairs.jsonl", "max_length": 32}, 5, 3, 0),
    "stream": ({**COMMON, **STREAMED}, 8, 6, 0),
    "shuffled stream, second epoch": (
        {**COMMON, **STREAMED, "task": "masked-lm", "train_file": "few.jsonl", "shuffle_buffer": 50}, 8, 6, 1,
    ),
    "last step": ({**OWN, "max_steps": 5}, None, 5, 0),
}  # fmt: skip


class Killer(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            kill_this_process()


def kill_at(step):
    """A job of `train`: the process kills itself after a step."""

    class Killed(trainers.TfmTrainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.add_callback(Killer(step))

    trainers.TfmTrainer = Killed


def kill_in_results():
    """A job of `train`: the process kills itself after training and before the final evaluation."""
    trainers.TfmTrainer.evaluate_all_splits = lambda self: kill_this_process()


def kill_in_report():
    """A job of `train`: the process kills itself between results and card."""
    run_report.RunReport.write = lambda self: kill_this_process()


def fill_the_disk_after_training():
    """A job of `train`: no file of the result can be as large as the weights."""
    save = trainers.TfmTrainer.save_model

    def save_on_full_disk(self, output_dir=None, _internal_call=False):
        if output_dir is None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        save(self, output_dir, _internal_call)

    trainers.TfmTrainer.save_model = save_on_full_disk


def kill_in_checkpoint(step):
    """A job of `train`: the process kills itself when the weights of a checkpoint are written and the optimizer states
    are not."""
    save = trainers.TfmTrainer._save_optimizer_and_scheduler

    def kill_or_save(self, folder):
        if self.state.global_step == step:
            kill_this_process()
        save(self, folder)

    trainers.TfmTrainer._save_optimizer_and_scheduler = kill_or_save


def signal_at(step, number, again=False):
    """A job of `train`: the process gets a signal in a step, and once more if it is to end at once."""

    class Signalled(trainers.TfmTrainer):
        def training_step(self, *arguments, **kwargs):
            if self.state.global_step == step - 1 and os.environ.get("RANK", "1") == "1":
                for _ in range(1 + again):
                    os.kill(os.getpid(), number)
            return super().training_step(*arguments, **kwargs)

    trainers.TfmTrainer = Signalled


def signal_in_data(number):
    """A job of `train`: the process gets a signal while it reads the data."""
    from hf_tfm.training.data import sources

    sources.load_data = lambda *arguments: os.kill(os.getpid(), number)


def final_state(folder):
    """The bytes of the weights or the adapter that a run saved, and its logged losses by step."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    losses = [(row["step"], name, row[name]) for row in history for name in ("loss", "eval_loss") if name in row]
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}, losses
