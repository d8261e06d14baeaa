"""`hf-tfm convert`: to ours and back, and one line on stderr for what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

from hf_tfm import cli
from tests.conversion.test_convert import make_gpt2
from tests.conversion.tiny import VOCAB_SIZE


def save_tokenizer(folder: Path) -> None:
    vocabulary = {f"w{i}": i for i in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0").save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_gpt2().save_pretrained(tmp_path / "native", max_shard_size="20KB")
    save_tokenizer(tmp_path / "native")
    return tmp_path


def test_the_command_converts_to_ours_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["convert", str(folder / "native"), str(folder / "ours")])
    printed = capsys.readouterr().out
    assert "GPT2LMHeadModel -> TfmDecoderForCausalLM" in printed
    assert "Largest difference" in printed
    assert "Next: " in printed
    cli.main(["convert", str(folder / "ours"), str(folder / "back"), "--to", "native"])
    first, last = (AutoModelForCausalLM.from_pretrained(folder / name) for name in ("native", "back"))
    assert type(first) is type(last) is GPT2LMHeadModel
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True))
    assert first.generation_config.to_dict() == last.generation_config.to_dict()
    tokenizers = [AutoTokenizer.from_pretrained(folder / name) for name in ("native", "ours", "back")]
    assert len({tuple(tokenizer("w3 w5")["input_ids"]) for tokenizer in tokenizers}) == 1


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit:
        cli.main(["convert", *arguments])
    assert exit.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_errors_are_one_line_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    native, destination = str(folder / "native"), folder / "new"
    assert "not an empty folder" in error_of([native, native], capsys)
    assert "already native" in error_of([native, str(destination), "--to", "native"], capsys)
    assert "multiple-choice" in error_of([native, str(destination), "--head", "multiple-choice"], capsys)
    assert str(folder / "missing") in error_of([str(folder / "missing"), str(destination)], capsys)
    assert not destination.exists()


def test_a_model_with_other_outputs_is_not_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_tfm.conversion.parity_check.relative_difference", lambda before, after: float("nan"))
    arguments = [str(folder / "native"), str(folder / "new")]
    assert "differ by nan" in error_of(arguments, capsys)
    assert not (folder / "new").exists()
    cli.main(["convert", *arguments, "--no_verify"])
    assert "not compared" in capsys.readouterr().out


def test_a_new_head_is_said_on_the_screen_and_on_the_card(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_to_config(folder / "native", output_past=True)
    cli.main(["convert", str(folder / "native"), str(folder / "new"), "--head", "sequence-classification"])
    printed, card = capsys.readouterr().out, (folder / "new" / "README.md").read_text()
    for text in (printed, card):
        assert 'NEW AND RANDOM: the checkpoint lacks weights of the head "sequence-classification"' in text
        assert "score.weight" in text
        assert "Fields of the configuration that nothing reads: output_past." in text
    assert str(folder) not in card


def add_to_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
