"""A pushed run holds no secret and no folder, login or name of this machine, and its card works as it stands."""

import dataclasses
import json
import shutil
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from transformers import TrainingArguments

from hf_tfm.privacy import shareable
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments

from .test_push import Hub, pushed
from .test_train import SHORT_RUN, cli_arguments, python, refuse_connections, start, wait_for
from .tiny import make_tiny

pytestmark = pytest.mark.xdist_group("train")

# no part of a path, a login or a name of a machine that occurs elsewhere
PERSON, MACHINE = "jane-d0e", "jane-l4ptop"
SECRETS = {name: f"s3cret-of-{name}" for name in ("token", "env", "key", "url", "signature", "optimizer")}
STEM = "|x|\n# hi <script> `a` ``` {0}"


class SummaryWriter:
    """Stands in for TensorBoard's, whose files are named after the machine."""

    def __init__(self, log_dir):
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        self.file = Path(log_dir) / f"events.{socket.gethostname()}"

    def add_text(self, name, text):
        with self.file.open("a") as file:
            file.write(f"{name} {text}\n")

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def stub_hub_and_tensorboard():
    """A job of `train`."""
    refuse_connections()
    from transformers.integrations import integration_utils
    from transformers.utils import hub

    from hf_tfm.training.arguments import training_arguments

    hub._hf_api = Hub()
    hub._hf_api.create_repo = lambda name, **kwargs: SimpleNamespace(repo_id=f"someone/{name}")
    socket.gethostname = lambda: MACHINE
    integration_utils.is_tensorboard_available = lambda: True
    training_arguments.find_spec = lambda name: name
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    sys.modules["torch.utils.tensorboard"] = module


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The working directory of a run that got secrets in every way that there is, and absolute paths."""
    folder = tmp_path_factory.mktemp("shared")
    home = folder / PERSON
    home.mkdir()
    rows = [{"stem": STEM.format(number), "choices": ["'a'", '"b"'], "label": number % 2} for number in range(60)]
    (home / "$a|b$.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = make_tiny("multiple-choice", rows[:8])
    for name in ("base", "tokenizer"):
        tiny.tokenizer.save_pretrained(home / name)
    tiny.model().save_pretrained(home / "base")
    options = SHORT_RUN | {
        "task": "multiple-choice", "train_file": home / "$a|b$.jsonl", "init_from": home / "base",
        "tokenizer_name": home / "tokenizer", "output_dir": home / "out", "max_length": 48, "disable_tqdm": True,
        "push_to_hub": True, "hub_model_id": "model", "hub_revision": "v1", "hub_strategy": "all_checkpoints",
        "hub_token": SECRETS["token"], "load_best_model_at_end": True, "report_to": "tensorboard",
        "optim_args": f"api_key={SECRETS['optimizer']}", "prompt": STEM,
        "data_note": f"See https://jane:{SECRETS['url']}@host/x?X-Amz-Signature={SECRETS['signature']}&a=1, {home}/y",
    }  # fmt: skip
    environment = {"HF_TOKEN": SECRETS["env"], "WANDB_API_KEY": SECRETS["key"]}
    process = start(folder, *cli_arguments(**options), job=stub_hub_and_tensorboard, environment=environment)
    done = wait_for(folder, process)
    assert done.code == 0, done.stderr
    return folder


def found(files, words):
    """Which of some words the files and their names hold, as lines."""
    return [
        f"{file}: {word}" for file in files for word in words if word.encode() in file.read_bytes() or word in str(file)
    ]


def files_below(folder):
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 20
    return files


def test_no_secret_is_in_any_file_or_in_what_is_printed(run, monkeypatch):
    monkeypatch.chdir(run)
    files = [Path("stdout"), Path("stderr"), *Path("pushed").rglob("*"), *(run / PERSON / "out").rglob("*")]
    assert not found(filter(Path.is_file, files), SECRETS.values())
    assert list((run / PERSON / "out").rglob(f"events.{MACHINE}")), "the logs were not written"


def test_no_pushed_file_names_a_folder_or_a_machine(run, monkeypatch):
    monkeypatch.chdir(run)
    files = [file for file in Path("pushed").rglob("*") if file.is_file()]
    assert {"README.md", "training_args.bin", "trainer_state.json", "run.json"} <= {file.name for file in files}
    assert not found(files, [PERSON, MACHINE, str(run)])


def test_the_card_shows_names_of_files_only(run):
    card = (run / PERSON / "out" / "README.md").read_text()
    for text in ("'$a|b$.jsonl'", "--init_from base", "trained further from base", "--hub_token '<HIDDEN>'"):
        assert text in card


# runs the Python code of the card where the pushed folder has its name on the Hub
RUN_CARD = """
import re, sys
code = re.search("```python\\n(.*?)\\n```", open("someone/model/README.md").read(), re.DOTALL)[1]
assert code.count('"someone/model", revision="v1", trust_remote_code=True') == 2
exec(code)
assert "hf_tfm" not in sys.modules
"""


def test_the_code_of_the_card_runs_on_the_pushed_folder(run):
    shutil.copytree(pushed(run)["End of training"], run / "someone" / "model")
    used = python(["-c", RUN_CARD], run)
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() in ("'a'", '"b"')


def test_every_argument_that_transformers_hides_is_hidden():
    args = TrainingArguments(use_cpu=True)
    hidden = [name for name, value in args.to_dict().items() if value == f"<{name.upper()}>"]
    assert hidden
    names = {field.name for field in dataclasses.fields(TfmTrainingArguments)}
    assert set(hidden) <= names
    assert shareable(dict.fromkeys(hidden, "abc")) == dict.fromkeys(hidden, "<HIDDEN>")
