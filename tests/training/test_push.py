"""Everything that is pushed to the Hub, during and after training, is complete: weights, code, tokenizer and card."""

import json
import shutil
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from torch import equal
from transformers import AutoModelForCausalLM, AutoTokenizer

from .test_train import OPTIONS, cli_arguments, refuse_connections, train
from .tiny import ROWS

pytestmark = pytest.mark.xdist_group("train")

EXPECTED_FILES = {
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "configuration_tfm.py", "modeling_tfm_decoder.py", "modeling_tfm.py", "README.md",
}  # fmt: skip


class Hub:
    """Stands in for the Hub: copies every upload into a folder named by its order and commit message."""

    def create_repo(self, name, **kwargs):
        return SimpleNamespace(repo_id=name)

    def upload_folder(self, folder_path, commit_message, ignore_patterns=None, **kwargs):
        pushed = Path("pushed")
        number = len(list(pushed.glob("*")))
        shutil.copytree(
            folder_path, pushed / f"{number} {commit_message}", ignore=shutil.ignore_patterns(*ignore_patterns)
        )
        done = Future()
        done.set_result(None)
        return done


def stub_hub():
    """A job of `train`."""
    refuse_connections()
    from transformers import trainer

    trainer.hf_api = Hub


@pytest.fixture(scope="module")
def pushes(tmp_path_factory):
    """The folders that a run pushed, in order, and its output directory."""
    folder = tmp_path_factory.mktemp("push")
    (folder / "own.jsonl").write_text("".join(json.dumps(ROWS["causal-lm"](row)) + "\n" for row in range(120)))
    options = OPTIONS | {
        "train_file": "own.jsonl", "block_size": 16, "ema_decay": 0.9, "push_to_hub": True, "output_dir": "out",
        "hub_model_id": "someone/model", "hub_strategy": "every_save",
    }  # fmt: skip
    done = train(folder, *cli_arguments(**options), job=stub_hub)
    assert done.code == 0, done.stderr
    return sorted((folder / "pushed").iterdir(), key=lambda path: int(path.name.split()[0])), folder / "out"


def test_every_push_is_complete(pushes):
    names = [path.name.split(" ", 1)[1] for path in pushes[0]]
    assert {"Training in progress, step 3", "Training in progress, step 6", "End of training"} <= set(names)
    for path in pushes[0]:
        assert {file.name for file in path.iterdir()} >= EXPECTED_FILES, path


def test_a_push_during_training_can_be_loaded(pushes):
    [middle] = [path for path in pushes[0] if path.name.endswith("step 3")]
    model = AutoModelForCausalLM.from_pretrained(middle)
    tokenizer = AutoTokenizer.from_pretrained(middle)
    assert model(**tokenizer("The sky", return_tensors="pt")).logits.isfinite().all()


def test_the_last_push_has_the_final_card_and_the_average_of_the_weights(pushes):
    """Pushing once replaced the average with the last weights."""
    *_, saved, last = pushes[0]
    assert saved.name.endswith("Model save")
    assert "bits per byte" in (last / "README.md").read_text()
    averages = load_file(pushes[1] / "checkpoint-6" / "ema.safetensors")
    for path in (saved, last):
        weights = load_file(path / "model.safetensors")
        assert not [name for name, average in averages.items() if not equal(weights[name], average)], path
