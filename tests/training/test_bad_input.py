"""Bad input ends train.py with status 1, or 2 if an option is wrong in itself, and one line that says what to do; no
file remains."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hf_tfm.training.data.tokenizer import train_tokenizer

from .test_train import ROOT, cli_arguments
from .tiny import ROWS, SIZES, make_tiny

pytestmark = pytest.mark.xdist_group("train")

SMALL = cli_arguments(**SIZES, vocab_size=300, block_size=16, max_steps=2, disable_tqdm=True)
PAIRS = "--task sequence-classification --train_file labelled.jsonl --test_file labelled.jsonl".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a tokenizer without a mask token, and a checkpoint with a small vocabulary."""
    place = tmp_path_factory.mktemp("bad")
    for task, name in {"causal-lm": "own", "sequence-classification": "labelled"}.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(ROWS[task](row)) + "\n" for row in range(60)))
    (place / "unseen.jsonl").write_text(json.dumps({"text": "What is it?", "label": "purple"}) + "\n")
    (place / "long.jsonl").write_text(json.dumps({"text": "so " * 600, "label": "blue"}) + "\n")
    (place / "empty.txt").touch()
    (place / "latin.txt").write_bytes(b"one line\nd\xe9j\xe0 vu\n")
    (place / "file").touch()
    tiny = make_tiny("causal-lm")
    tiny.tokenizer.save_pretrained(place / "no_mask")
    tiny.model().save_pretrained(place / "checkpoint")
    tiny.tokenizer.save_pretrained(place / "checkpoint")
    many = [f"{number} words more {number * 7}" for number in range(900)]
    train_tokenizer(many, 600, 16).save_pretrained(place / "many_tokens")
    return place


@pytest.fixture
def refusal(folder, monkeypatch, capsys):
    """A function that runs train.py in this process and returns the last line of its error output."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(ROOT))
    before = {path for path in folder.rglob("*") if path.is_file()}

    def run(*arguments):
        import train

        monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, "--output_dir", "out", *arguments])
        state = torch.get_rng_state()
        try:
            with pytest.raises(SystemExit) as ended:
                train.main()
        finally:
            torch.set_rng_state(state)
        errors = capsys.readouterr().err
        assert ended.value.code == (2 if errors.startswith("usage: ") else 1)
        assert "Traceback" not in errors
        assert {path for path in folder.rglob("*") if path.is_file()} == before
        *_, last = errors.strip().splitlines()
        assert last.startswith("train.py: error: ")
        assert last.count("error:") == 1
        return last

    return run


# what is wrong -> arguments, and what the message must contain
BAD = {
    "missing column": (
        ["--train_file", "own.jsonl", "--columns", "text=body"],
        ["'body'", "own.jsonl", "its columns are: text", "--columns text=<column>"],
    ),
    "no column of the task": (["--task", "seq2seq", "--train_file", "own.jsonl"], ["'source'", "--columns source="]),
    "bad --columns": (["--train_file", "own.jsonl", "--columns", "body"], ["--columns body", "--columns text=my_text"]),
    "empty file": (["--train_file", "empty.txt"], ["--train_file empty.txt", "empty"]),
    "no file": (["--train_file", "nowhere.txt"], ["--train_file nowhere.txt", "no such file"]),
    "Latin-1": (["--train_file", "latin.txt"], ["latin.txt is not UTF-8: byte 0xE9 in line 2", "iconv"]),
    "unseen label": (
        [*PAIRS, "--validation_file", "unseen.jsonl"],
        ["unseen.jsonl, line 1", "purple", "blue, green, yellow"],
    ),
    "long text": (
        [*PAIRS, "--validation_file", "long.jsonl", "--max_length", "64"],
        ["long.jsonl, line 1 ", "--max_length 64", "--long_texts truncate"],
    ),
    "no mask token": (
        ["--task", "masked-lm", "--train_file", "own.jsonl", "--tokenizer_name", "no_mask"],
        ["no_mask", "mask_token", "add_special_tokens"],
    ),
    "recipe of another architecture": (
        ["--task", "causal-lm", "--recipe", "bert"],
        ["--recipe bert", "--task causal-lm", "decoder"],
    ),
    "unknown recipe": (["--recipe", "bret"], ["--recipe bret", "bert"]),
    "architecture without a head for the task": (
        ["--task", "masked-lm", "--architecture", "decoder"],
        ["--architecture decoder", "encoder"],
    ),
    "output directory below a file": (
        ["--train_file", "own.jsonl", "--output_dir", "file/out"],
        ["--output_dir file/out", "another"],
    ),
    "unknown task": (["--task", "masked"], ["--task masked", "masked-lm"]),
    "unknown built-in data": (["--builtin_dataset", "snakes"], ["--builtin_dataset snakes", "documentation"]),
    "built-in data of another task": (
        ["--builtin_dataset", "date_pairs"],
        ["--builtin_dataset date_pairs", "--task causal-lm", "text"],
    ),
    "generation": (["--train_file", "own.jsonl", "--predict_with_generate"], ["--predict_with_generate", "causal-lm"]),
    "no whole batch": (
        ["--train_file", "own.jsonl", "--dataloader_drop_last", "--per_device_train_batch_size", "900"],
        ["--dataloader_drop_last leaves no batch of 900 rows", "--per_device_train_batch_size"],
    ),
    "no steps": (["--train_file", "own.jsonl", "--max_steps", "0"], ["--max_steps 0", "above 0"]),
    "transformers' handler of SIGTERM": (["--enable_jit_checkpoint"], ["--enable_jit_checkpoint", "leave it out"]),
    "a push without its card": (["--no_report", "--push_to_hub"], ["pushes the card too", "leave out --no_report"]),
    "missing package of --report_to": (
        ["--train_file", "own.jsonl", "--report_to", "trackio"],
        ["--report_to trackio", "pip install trackio"],
    ),
    "unknown option": (["--hiden_size", "4"], ["--hiden_size"]),
    "impossible size": (["--train_file", "own.jsonl", "--num_attention_heads", "3"], ["hidden_size (16)", "heads (3)"]),
}


@pytest.mark.parametrize("wrong", BAD)
def test_the_message_says_what_is_wrong_and_what_to_do(refusal, wrong, monkeypatch):
    arguments, expected = BAD[wrong]
    monkeypatch.setattr("hf_tfm.training.arguments.training_arguments.find_spec", lambda name: None)
    line = refusal(*arguments)
    assert not [text for text in expected if text not in line], line


def test_a_tokenizer_with_more_tokens_than_the_checkpoint(refusal, monkeypatch):
    for size in cli_arguments(**SIZES, vocab_size=300)[::2]:
        assert size in SMALL
    monkeypatch.setattr(sys.modules[__name__], "SMALL", cli_arguments(block_size=16, max_steps=2, disable_tqdm=True))
    line = refusal("--train_file", "own.jsonl", "--init_from", "checkpoint", "--tokenizer_name", "many_tokens")
    assert "The tokenizer has 600 tokens, the model only 300" in line
    assert "--tokenizer_name" in line


def test_no_disk_space(refusal, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    line = refusal("--train_file", "own.jsonl")
    assert "0.00 GB free" in line
    assert "--save_total_limit" in line


def test_a_corrected_command_can_use_the_same_folder(refusal, folder):
    refusal(*PAIRS, "--validation_file", "long.jsonl", "--max_length", "64")
    assert not Path("out").exists() or not any(Path("out").iterdir())
