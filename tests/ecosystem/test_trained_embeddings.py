"""The folder of a run of `train.py --task embeddings` is one of sentence-transformers, in which every pooling is the
model's own."""

import json
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers")
from tests.ecosystem.conftest import run_in_modes
from tests.training.tiny import make_tiny


@pytest.mark.parametrize("fields", [{"pooling": "mean"}, {"pooling": "late", "classifier_dense": "embedding"}])
def test_sentence_transformers_encodes_as_the_model(fields, tmp_path):
    tiny = make_tiny("embeddings")
    folder = tmp_path / "ours" / "embedder"
    tiny.model(config_overrides=json.dumps(fields)).save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    for name, content in tiny.objective.model_files().items():
        (folder / name).write_text(json.dumps(content))
    runs = Path(__file__).with_name("trained_embeddings_runs.py")
    found = run_in_modes(runs, ["encode"], tmp_path, modes=("package", "remote"))
    modules = {"package": "hf_tfm", "remote": "transformers_modules"}
    for mode, results in found.items():
        value = results["encode"].get("value") or pytest.fail(results["encode"]["traceback"])
        assert value["module"] == modules[mode]
        assert value["limit"] == tiny.tokenizer.model_max_length
        for encoded, expected in zip(value["encoded"], value["expected"], strict=True):
            assert encoded == pytest.approx(expected, abs=1e-6)
            assert sum(number * number for number in encoded) == pytest.approx(1, abs=1e-5)
