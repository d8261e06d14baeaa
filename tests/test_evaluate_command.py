"""`hf-tfm evaluate`: what it hands to lm-evaluation-harness. tests/ecosystem/test_lm_eval.py runs the harness."""

import json

import pytest

from hf_tfm.evaluate_command import harness_arguments, parse_arguments
from tests.grid import make


def arguments_for(architecture, folder, *options):
    make(architecture).config.save_pretrained(folder)
    given = [str(folder), "--tasks", "a.yaml", "arc_easy", *options]
    return harness_arguments(parse_arguments(given, "hf-tfm evaluate"))


@pytest.mark.parametrize(("architecture", "backend"), [("decoder", "causal"), ("seq2seq", "seq2seq")])
def test_harness_is_told_the_kind_of_model(architecture, backend, tmp_path):
    command = arguments_for(architecture, tmp_path, "--limit", "2", "--log_samples")
    model = json.loads(command[command.index("--model_args") + 1])
    assert (model["pretrained"], model["backend"]) == (str(tmp_path), backend)
    assert command[-6:] == ["--tasks", "a.yaml", "arc_easy", "--limit", "2", "--log_samples"]


def test_an_encoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is an encoder, which predicts no next token"):
        arguments_for("encoder", tmp_path)
