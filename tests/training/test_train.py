"""`python train.py` as a user runs it: the files that it writes, what it prints, and that it opens no connection."""

import contextlib
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest

from hf_tfm.training.loop.output_dir import PAGE_BYTES
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import ROWS

# in one pytest worker, because every worker would train the model of the fixture again
pytestmark = pytest.mark.xdist_group("train")

ROOT = Path(__file__).parents[2]
SMALL_MODEL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SHORT_RUN = {"max_steps": 6, "eval_steps": 3, "logging_steps": 1, "save_steps": 3, "warmup_steps": 1}
OPTIONS = {**SMALL_MODEL, **SHORT_RUN, "vocab_size": 400, "block_size": 64, "disable_tqdm": True}
# sitecustomize.py of the processes: any connection ends the process.
NO_NETWORK = """
import socket
def refuse(self, address, *rest):
    raise SystemExit(f"a connection was opened to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
"""
OUTPUT_FILES = (
    "README.md", "training.png", "inspect.html", "config.json", "generation_config.json", "model.safetensors",
    "tokenizer.json", "tokenizer_config.json", "modeling_tfm_decoder.py", "train_results.json", "eval_results.json",
    "test_results.json", "all_results.json", "trainer_state.json", "run.json", "samples.jsonl", "checkpoint-6",
)  # fmt: skip


def cli_arguments(**options):
    """Command-line arguments; a list gives one option several values."""
    pairs = ([f"--{name}", *map(str, value if isinstance(value, list) else [value])] for name, value in options.items())
    return [argument for pair in pairs for argument in pair]


TINY = cli_arguments(**OPTIONS)


def python(arguments, folder, **environment):
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    variables = {"HF_HOME": str(folder / "home"), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


class CompletedRun(NamedTuple):
    """Exit code of a process (negative: the signal that ended it), and its output."""

    code: int | None
    stdout: str
    stderr: str


# Processes are forked from one that has imported everything, which saves several seconds for each.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["hf_tfm.training.report.run_report", "matplotlib.pyplot", "tests.training.test_train"])


def train(folder, *arguments, job=None):
    """Run `python train.py` in a new process in `folder`; `job`, a module-level function, is called first."""
    return wait_for(folder, start(folder, *arguments, job=job))


def start(folder, *arguments, job=None, log="", environment=None):
    process = SERVER.Process(target=run_script, args=(folder, arguments, job, log, environment or {}))
    process.start()
    return process


def wait_for(folder, process, log=""):
    process.join(300)
    return CompletedRun(process.exitcode, *((folder / f"{name}{log}").read_text() for name in ("stdout", "stderr")))


def run_script(folder, arguments, job, log, environment):
    import torch

    sys.path.insert(0, str(ROOT))
    import train as script

    torch.set_num_threads(1)
    # as on the command line, so that data loader workers are forked too
    multiprocessing.set_start_method("fork", force=True)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["train.py", *map(str, arguments)]
    # line buffering: the output of a killed process is kept
    with (
        open(f"stdout{log}", "w", buffering=1) as out,
        open(f"stderr{log}", "w", buffering=1) as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        # its handler holds the stream of the process that was forked
        for handler in logging.getLogger("transformers").handlers:
            handler.setStream(err)
        if job:
            job()
        try:
            script.main()
        except Exception:
            # into the file: multiprocessing prints it on the terminal
            traceback.print_exc()
            raise


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = python([ROOT / "train.py", *TINY, "--output_dir", "runs/tiny"], folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_output_directory_is_complete(run):
    output = run[0] / "runs" / "tiny"
    missing = [name for name in OUTPUT_FILES if not (output / name).exists()]
    assert not missing
    assert not (output / "metrics").exists()


def test_results_are_plausible_and_consistent(run):
    results = json.loads((run[0] / "runs/tiny/all_results.json").read_text())
    assert 3 < results["test_bits_per_byte"] < 8
    assert results["test_nats_per_token"] == pytest.approx(results["test_loss"], rel=1e-3)
    assert results["train_runtime"] > 0
    [line] = [line for line in run[1].stdout.splitlines() if line.startswith("bits per byte of text")]
    assert f"{results['test_bits_per_byte']:.3f}" in line
    assert f"{results['eval_bits_per_byte']:.3f}" in line


def test_data_are_described_with_python_version_and_fingerprint(run):
    [line] = [line for line in run[1].stdout.splitlines() if line.startswith("Data: ")]
    assert ", Python 3." in line
    fingerprint = line.split("fingerprint ")[1]
    assert fingerprint in (run[0] / "runs/tiny/README.md").read_text()


# appended to the usage snippet, and run in a folder from which hf_tfm cannot be imported
AUTO_CLASSES = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
assert "hf_tfm" not in sys.modules
autos = AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (auto.from_pretrained("runs/tiny", trust_remote_code=True) for auto in autos)
assert model.config.use_cache and model.config.eos_token_id == tokenizer.eos_token_id
assert tokenizer.decode(tokenizer("Return a").input_ids) == "Return a"
"""


def usage_snippet(stdout):
    return stdout.split("Load it and use it:")[1].strip()


def test_the_printed_snippet_and_auto_classes_load_the_model(run):
    folder, done = run
    lines = usage_snippet(done.stdout)
    assert len(lines.splitlines()) == 3
    used = python(["-c", lines + AUTO_CLASSES], folder)
    assert used.returncode == 0, used.stderr
    assert used.stdout.startswith("Return a")


def test_the_folder_of_a_finished_run_is_refused(run):
    again = train(run[0], *TINY, "--output_dir", "runs/tiny")
    assert again.code == 1
    assert "finished" in again.stderr
    assert "--overwrite_output_dir" in again.stderr


def test_help_lists_options_and_defaults(tmp_path):
    shown = train(tmp_path, "--help")
    assert shown.code == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    for option in ("--recipe", "--train_file", "--optimizer", "--learning_rate", "--gradient_accumulation_steps"):
        assert option in text
    assert "0.01 with --optimizer muon" in text


# All tasks but that of the tests above. These train on built-in data; those of ON_ROWS, whose built-in data take longer
# to make, train on a few rows.
TASKS = {
    "masked-lm": {}, "denoising": {"predict_with_generate": False}, "seq2seq": {"predict_with_generate": False},
    "sequence-classification": {"max_length": 64},
}  # fmt: skip
ON_ROWS = [task for task in OBJECTIVES if task not in (*TASKS, "causal-lm")]
TASK_RUN = OPTIONS | {
    "vocab_size": 512, "block_size": 32, "max_steps": 3, "eval_steps": 2, "max_eval_samples": 8,
    "per_device_train_batch_size": 4, "ema_decay": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks")


@pytest.fixture(scope="module", params=[*TASKS, *ON_ROWS])
def task_run(request, task_folder):
    """A task, and a completed run of it."""
    task, options = request.param, TASK_RUN | TASKS.get(request.param, {})
    if task in ON_ROWS:
        rows = (json.dumps(ROWS[task](number)) + "\n" for number in range(80))
        (task_folder / f"{task}.jsonl").write_text("".join(rows))
        options["train_file"] = f"{task}.jsonl"
    return task, train(task_folder, "--task", task, *cli_arguments(**options), job=refuse_connections)


def refuse_connections():
    exec(NO_NETWORK, {})


def test_every_task_writes_results(task_folder, task_run):
    task, done = task_run
    assert done.code == 0, done.stderr
    results = json.loads((task_folder / "runs" / task / "all_results.json").read_text())
    assert results["test_loss"] > 0
    card = (task_folder / "runs" / task / "README.md").read_text()
    assert usage_snippet(done.stdout) in card
    assert "[inspect.html](inspect.html)" in card
    assert ", inspect.html, " in done.stdout
    assert (task_folder / "runs" / task / "inspect.html").stat().st_size < PAGE_BYTES
    (task_folder / f"{task}.txt").write_text(usage_snippet(done.stdout))


def test_every_task_trains_an_adapter_on_an_earlier_run_of_it(task_folder, task_run):
    task, done = task_run
    assert done.code == 0, done.stderr
    rows = "".join(json.dumps(ROWS[task](number)) + "\n" for number in range(40))
    (task_folder / f"{task}-rows.jsonl").write_text(rows)
    options = TASK_RUN | TASKS.get(task, {}) | {"init_from": f"runs/{task}", "output_dir": f"adapters/{task}"}
    options |= {"train_file": f"{task}-rows.jsonl", "max_steps": 1}
    kept = {name: value for name, value in options.items() if name not in (*SMALL_MODEL, "ema_decay")}
    adapted = train(task_folder, "--task", task, "--peft", "lora", *cli_arguments(**kept), job=refuse_connections)
    assert adapted.code == 0, adapted.stderr
    assert adapted.stdout.count("inspect.html") == 1
    assert "No inspect.html: this run trained an adapter" in adapted.stdout
    assert (task_folder / "adapters" / task / "adapter_model.safetensors").exists()
    assert not (task_folder / "adapters" / task / "model.safetensors").exists()


# Runs all usage snippets in one process, because a process takes seconds to start, and prints the task before each.
RUN_SNIPPETS = """
import sys, traceback
for task in sys.argv[1:]:
    print(f"\\n--- {task}")
    try:
        exec(open(f"{task}.txt").read(), {})
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print("FAILED")
assert "hf_tfm" not in sys.modules
"""


def test_the_snippet_of_every_task_runs_without_the_package(task_folder):
    tasks = [path.stem for path in sorted(task_folder.glob("*.txt"))]
    assert set(tasks) == {*TASKS, *ON_ROWS}
    used = python(["-c", RUN_SNIPPETS, *tasks], task_folder)
    assert used.returncode == 0, used.stderr
    printed = dict(part.split("\n", 1) for part in used.stdout.split("\n--- ")[1:])
    assert not [text for text in printed.values() if "FAILED" in text]
    # a model of three steps may generate nothing, but every snippet prints
    assert set(printed) == set(tasks)
    assert all(printed.values()), printed
    # and no part of a checkpoint asks whether to run its code
    assert "custom code" not in used.stdout + used.stderr
