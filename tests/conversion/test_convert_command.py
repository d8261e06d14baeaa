"""`hf-tfm convert`: to ours and back, and one line on stderr for what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from tokenizers import Tokenizer, models
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_tfm import TfmSeq2SeqEncoderModel, cli
from hf_tfm.usage import card_to_send
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


# relative path -> content, of a repository of sentence-transformers
SENTENCE_FILES = {
    "modules.json": json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]),
    "config_sentence_transformers.json": '{"prompts": {"query": "query: "}}',
    "sentence_bert_config.json": '{"max_seq_length": 7}',
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
    "1_Pooling/model.safetensors": "weights",
}  # fmt: skip


@pytest.fixture
def sentence_folder(folder: Path) -> Path:
    for name, content in SENTENCE_FILES.items():
        (folder / "native" / name).parent.mkdir(exist_ok=True)
        (folder / "native" / name).write_text(content)
    return folder


def test_files_of_sentence_transformers_are_kept_both_ways(
    sentence_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sentence_folder
    cli.main(["convert", str(folder / "native"), str(folder / "ours")])
    assert "from sentence_transformers import SentenceTransformer" in capsys.readouterr().out
    cli.main(["convert", str(folder / "ours"), str(folder / "back"), "--to", "native"])
    for name in ("ours", "back"):
        assert {file: (folder / name / file).read_text() for file in SENTENCE_FILES} == SENTENCE_FILES
        card = (folder / name / "README.md").read_text()
        assert "library_name: sentence-transformers" in card
        assert f'SentenceTransformer("{name}"' in card


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"path": "", "type": "custom_st.Transformer"}], "custom_st.Transformer, whose code comes with"),
        ([{"path": "../x", "type": "sentence_transformers.models.Pooling"}], "only from inside of the checkpoint"),
        ({"path": ""}, "no JSON list of modules"),
    ],
)
def test_modules_that_cannot_be_kept_are_refused(
    modules: object, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "native" / "modules.json").write_text(json.dumps(modules))
    assert message in error_of([str(folder / "native"), str(folder / "new")], capsys)
    assert not (folder / "new").exists()


def test_sentence_transformers_repositories_give_the_encoder_of_an_encoder_decoder(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 30}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(tmp_path / "native")
    (tmp_path / "native" / "modules.json").write_text(SENTENCE_FILES["modules.json"])
    cli.main(["convert", str(tmp_path / "native"), str(tmp_path / "ours")])
    assert type(AutoModel.from_pretrained(tmp_path / "ours")) is TfmSeq2SeqEncoderModel


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


def test_the_card_keeps_the_licence_and_loads_the_result_by_its_name_on_the_hub(folder: Path) -> None:
    (folder / "native" / "README.md").write_text("---\nlicense: mit\nlanguage: da\nmodel-index: []\n---\n# A model\n")
    cli.main(["convert", str(folder / "native"), str(folder / "ours")])
    cli.main(["convert", str(folder / "ours"), str(folder / "back"), "--to", "native"])
    for name, arguments in (("ours", '"me/new", trust_remote_code=True'), ("back", '"me/new"')):
        fields = json.loads((folder / name / "config.json").read_text())
        card = card_to_send(folder / name, fields, "", "me/new")
        assert (ModelCard(card).data.license, ModelCard(card).data.language) == ("mit", "da")
        assert f"model = AutoModelForCausalLM.from_pretrained({arguments})" in card
        assert (ModelCard(card).data.tags == ["hf_tfm"]) is (name == "ours")


def add_to_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
