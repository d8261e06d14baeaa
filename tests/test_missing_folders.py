"""A folder that does not exist is named as such, whatever reads it: not as an invalid name on the Hub."""

import pytest

from hf_tfm import cli
from hf_tfm.evaluate_command import model_arguments, parse_arguments
from hf_tfm.serving import serve_command
from hf_tfm.training.data.tokenizer import load_tokenizer
from hf_tfm.training.loop.model_creation import read_config


def evaluate(source):
    return model_arguments(parse_arguments([source, "--tasks", "any"], "evaluate"))


# what reads a checkpoint -> its call
READERS = {
    "inspect": lambda source: cli.main(["inspect", source, "text"]),
    "convert": lambda source: cli.main(["convert", source, "converted"]),
    "convert back": lambda source: cli.main(["convert", source, "converted", "--to", "native"]),
    "doctor": lambda source: cli.main(["doctor", source]),
    "evaluate": evaluate,
    "serve": lambda source: serve_command.read_config(source, trust_remote_code=False),
    "--init_from": read_config,
    "--tokenizer_name": load_tokenizer,
}


def message(read, source, capsys):
    """What a person reads."""
    with pytest.raises((SystemExit, ValueError)) as ended:
        read(source)
    return capsys.readouterr().err if ended.type is SystemExit else str(ended.value)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_that_does_not_exist_is_named(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("runs/two/folders", "./run", str(tmp_path / "none")):
        found = message(READERS[name], source, capsys)
        assert f"The folder {source} does not exist" in found
        assert "Repo id" not in found
    # it could be a name on the Hub
    found = message(READERS[name], "runs/none", capsys)
    assert "There is no folder runs/none, and from the Hub it was not read: " in found
    assert found.count("\n") <= 1
