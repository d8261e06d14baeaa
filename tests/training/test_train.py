"""`python train.py` from the outside: what it leaves, what it prints, and that it never opens a connection."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# one process for these tests: each would train a model of its own
pytestmark = pytest.mark.xdist_group("train")

ROOT = Path(__file__).parents[2]
SMALL_MODEL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SHORT_RUN = {"max_steps": 6, "eval_steps": 3, "logging_steps": 1, "save_steps": 3, "warmup_steps": 1}
CHOICES = {**SMALL_MODEL, **SHORT_RUN, "vocab_size": 400, "block_size": 64, "disable_tqdm": True}
TINY = [f"--{name}={value}" for name, value in CHOICES.items()]
# Put first on the path: a connection to anything but this machine ends the process.
NO_NETWORK = """
import socket
def refuse(self, address, *rest):
    raise SystemExit(f"a connection was opened to {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
"""
PROMISED = (
    "README.md", "training.png", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json", "modeling_tfm_decoder.py", "train_results.json", "eval_results.json", "test_results.json",
    "all_results.json", "trainer_state.json", "checkpoint-6",
)  # fmt: skip


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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = python([ROOT / "train.py", *TINY, "--output_dir", "runs/tiny"], folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_promised_files_are_left(run):
    output = run[0] / "runs" / "tiny"
    missing = [name for name in PROMISED if not (output / name).exists()]
    assert not missing
    assert not (output / "metrics").exists()


def test_results_are_measured_and_consistent(run):
    results = json.loads((run[0] / "runs/tiny/all_results.json").read_text())
    assert 3 < results["test_bits_per_byte"] < 8
    assert results["test_nats_per_token"] == pytest.approx(results["test_loss"], rel=1e-3)
    assert results["train_runtime"] > 0
    assert f"{results['test_bits_per_byte']:.3f} bits per byte" in run[1].stdout


def test_corpus_is_named_with_python_and_fingerprint(run):
    [line] = [line for line in run[1].stdout.splitlines() if line.startswith("Text: ")]
    assert "of Python 3." in line
    assert "fingerprint" in line
    fingerprint = line.split("fingerprint ")[1]
    assert fingerprint in (run[0] / "runs/tiny/README.md").read_text()


# a fresh process, in a folder from which hf_tfm cannot be imported
AFTERWARDS = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
assert "hf_tfm" not in sys.modules
autos = AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (auto.from_pretrained("runs/tiny", trust_remote_code=True) for auto in autos)
assert model.config.use_cache and model.config.eos_token_id == tokenizer.eos_token_id
assert tokenizer.decode(tokenizer("Return a").input_ids) == "Return a"
"""


def test_printed_lines_and_auto_classes_load_the_model(run):
    folder, done = run
    lines = done.stdout.split("Load it and use it:")[1].strip().splitlines()
    assert len(lines) == 3
    used = python(["-c", "\n".join(lines) + AFTERWARDS], folder)
    assert used.returncode == 0, used.stderr
    assert used.stdout.startswith("Return a")


def test_a_finished_folder_is_refused_with_the_way_out(run):
    folder = run[0]
    again = python([ROOT / "train.py", *TINY, "--output_dir", "runs/tiny"], folder)
    assert again.returncode != 0
    assert "--overwrite_output_dir" in again.stderr


def test_own_text_resumed_from_a_checkpoint_ends_where_an_unbroken_run_ends(tmp_path):
    text = "\n\n".join(f"The {i}th line of a little text, which says nothing." for i in range(300))
    (tmp_path / "own.txt").write_text(text)
    base = [ROOT / "train.py", *TINY, "--train_file", "own.txt", "--output_dir", "out", "--save_total_limit", "5"]
    whole = python(base, tmp_path)
    assert whole.returncode == 0, whole.stderr
    expected = (tmp_path / "out/model.safetensors").read_bytes()
    resumed = python([*base, "--resume_from_checkpoint", "out/checkpoint-3"], tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == expected


def test_help_lists_options_and_defaults(tmp_path):
    shown = python([ROOT / "train.py", "--help"], tmp_path)
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    for option in ("--recipe", "--train_file", "--optimizer", "--learning_rate", "--gradient_accumulation_steps"):
        assert option in text
    assert "(default: llama)" in text
    assert "0.01 with --optimizer muon" in text
