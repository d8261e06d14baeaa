"""Everything that is pushed to the Hub, during and after training, is complete: weights, code, tokenizer and card. What
a Hub refuses is said, and the same command pushes it again."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file
from torch import equal
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.checkpoints import fault

from .test_train import OPTIONS, cli_arguments, refuse_connections, train
from .tiny import ROWS

pytestmark = pytest.mark.xdist_group("train")

EXPECTED_FILES = {
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "configuration_tfm.py", "modeling_tfm_decoder.py", "modeling_tfm.py", "README.md",
}  # fmt: skip


class Hub:
    """Stands in for the Hub: copies every upload into a folder named by its order and commit message, as late as the
    Hub may read it. `refuses`: ends of the commit messages that it refuses."""

    def __init__(self, refuses=()):
        self.refuses, self.threads = refuses, ThreadPoolExecutor(max_workers=1)

    def whoami(self, token=None):
        return {"name": "someone"}

    def auth_check(self, name, **kwargs):
        pass

    def create_repo(self, name, **kwargs):
        return SimpleNamespace(repo_id=name)

    def run_as_future(self, function, *args, **kwargs):
        return self.threads.submit(lambda: (time.sleep(0.3), function(*args, **kwargs)))

    def upload_folder(self, folder_path, commit_message, allow_patterns=("*",), ignore_patterns=(), **kwargs):
        if commit_message.endswith(tuple(self.refuses)):
            raise HfHubHTTPError("the Hub refuses", response=SimpleNamespace(headers={}, request=None))
        place = Path("pushed") / f"{len(list(Path('pushed').glob('*')))} {commit_message}"
        for file in filter_repo_objects(
            [str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*") if path.is_file()],
            allow_patterns=list(allow_patterns),
            ignore_patterns=list(ignore_patterns),
        ):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder_path) / file, place / file)


def stub_hub(refuses=()):
    """A job of `train`."""
    refuse_connections()
    from transformers.utils import hub

    hub._hf_api = Hub(refuses)


PUSHING = OPTIONS | {
    "train_file": "own.jsonl", "block_size": 16, "ema_decay": 0.9, "push_to_hub": True, "hub_model_id": "someone/model",
}  # fmt: skip


def folder_with_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    (folder / "own.jsonl").write_text("".join(json.dumps(ROWS["causal-lm"](row)) + "\n" for row in range(120)))
    return folder


def pushed(folder):
    """The folders that were pushed, in order, by commit message."""
    paths = sorted((folder / "pushed").iterdir(), key=lambda path: int(path.name.split()[0]))
    return {path.name.split(" ", 1)[1]: path for path in paths}


@pytest.fixture(scope="module")
def pushes(tmp_path_factory):
    """What a run pushed that keeps one checkpoint and pushes all, and its output directory."""
    folder = folder_with_data(tmp_path_factory)
    options = PUSHING | {"output_dir": "out", "hub_strategy": "all_checkpoints", "save_steps": 2}
    done = train(folder, *cli_arguments(**options), job=stub_hub)
    assert done.code == 0, done.stderr
    assert "Not pushed" not in done.stdout
    return pushed(folder), folder / "out"


def test_every_push_is_complete(pushes):
    progress = [f"Training in progress, step {step}" for step in (2, 4, 6)]
    checkpoints = [f"{message}, checkpoint" for message in progress]
    ordered = [message for pair in zip(progress, checkpoints, strict=True) for message in pair]
    assert list(pushes[0]) == ["Start of training", *ordered, "End of training"]
    for message in (*progress, "End of training"):
        names = {file.name for file in pushes[0][message].iterdir()}
        assert names >= EXPECTED_FILES, message
        assert not names & {"optimizer.pt", "manifest.json", "_lock"}


def test_all_checkpoints_are_pushed_whole_although_one_is_kept(pushes):
    """Two of three were deleted before the Hub had read them, and none had its average."""
    assert [path.name for path in pushes[1].glob("checkpoint-*")] == ["checkpoint-6"]
    args = TfmTrainingArguments(output_dir=str(pushes[1]), use_cpu=True, ema_decay=0.9, report_to="none")
    for step in (2, 4, 6):
        assert fault(pushes[0][f"Training in progress, step {step}, checkpoint"], args) is None


def test_the_first_push_has_a_card_and_no_model(pushes):
    assert [file.name for file in pushes[0]["Start of training"].iterdir()] == ["README.md"]


def test_a_push_during_training_can_be_loaded(pushes):
    middle = pushes[0]["Training in progress, step 2"]
    model = AutoModelForCausalLM.from_pretrained(middle)
    tokenizer = AutoTokenizer.from_pretrained(middle)
    assert model(**tokenizer("The sky", return_tensors="pt")).logits.isfinite().all()


def test_the_last_push_has_the_final_card_and_the_average_of_the_weights(pushes):
    """Pushing once replaced the average with the last weights."""
    last = pushes[0]["End of training"]
    assert "bits per byte" in (last / "README.md").read_text()
    assert "<title>Inside model (decoder)" in (last / "inspect.html").read_text()
    averages = load_file(pushes[1] / "checkpoint-6" / "ema.safetensors")
    weights = load_file(last / "model.safetensors")
    assert not [name for name, average in averages.items() if not equal(weights[name], average)]


def test_a_push_that_is_refused_is_said_and_pushed_again_by_the_same_command(tmp_path_factory):
    folder = folder_with_data(tmp_path_factory)
    command = cli_arguments(**PUSHING, output_dir="out", hub_strategy="every_save")
    first = train(folder, *command, job=partial(stub_hub, ("Start of training",)))
    assert first.code == 1
    assert "error: HfHubHTTPError: the Hub refuses" in first.stderr
    # any other command may use the folder
    assert not any((folder / "out").iterdir())
    later = train(folder, *command, job=partial(stub_hub, ("step 3", "End of training")))
    assert later.code == 1
    assert "Not pushed: the model of step 3: the Hub refuses" in later.stdout
    assert "error: HfHubHTTPError: the Hub refuses" in later.stderr
    again = train(folder, *command, job=stub_hub)
    assert again.code == 0, again.stderr
    assert (pushed(folder)["End of training"] / "model.safetensors").exists()
    assert "which is finished" in train(folder, *command, job=stub_hub).stderr
