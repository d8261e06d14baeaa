"""`hf-tfm push` against a Hub on loopback: what arrives loads everywhere by the printed lines, and what cannot arrive
is refused before anything is sent."""

import json
import os
import re
import shutil
from functools import partial

import pytest
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import RepositoryNotFoundError
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from hf_tfm import cli
from hf_tfm.hub import uploads
from tests.hub.server import BROKEN, HubServer
from tests.modeling.remote_code.checkpoints import (
    CAUSAL,
    EMBEDDING_HEADS,
    HEADS,
    LANGUAGE_HEADS,
    make_head,
    save_expected_outputs,
    write_heads,
)
from tests.modeling.remote_code.processes import Reader, Worker
from tests.training.test_train import OPTIONS, cli_arguments, train

TOKEN = "token-of-user"
LEFT_OUT = ("training_args.bin", "optimizer.pt", "checkpoint-2/model.safetensors", "runs/a/events", "_lock")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(root):
    with HubServer(root / "repositories") as server:
        yield server


@pytest.fixture(autouse=True)
def connection(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    connect(hub.endpoint, monkeypatch.setattr)
    monkeypatch.setattr(uploads, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(hub, "on_request", lambda path, token: None)
    monkeypatch.setattr(hub, "requests", [])


def connect(endpoint, set_value=setattr):
    """Use the Hub in this process; also a job of `train`, whose process has another environment."""
    os.environ.setdefault("HF_TOKEN", TOKEN)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    values = {"ENDPOINT": endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
    values["HF_HUB_DISABLE_XET"] = True
    for name, value in values.items():
        set_value(constants, name, value)


def push(capsys, *arguments):
    """What a push prints."""
    cli.main(["push", *map(str, arguments)])
    return capsys.readouterr().out


def refusal(capsys, *arguments):
    """The one sentence that ends a push before anything is written on the Hub."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["push", *map(str, arguments)])
    assert ended.value.code == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith("hf-tfm push: error: ")
    assert "\n" not in line
    return line


def printed_lines(output):
    return output.split("Load it:\n\n")[1]


@pytest.fixture(scope="module")
def heads(root):
    return write_heads(root, [*LANGUAGE_HEADS, *EMBEDDING_HEADS][:4])


@pytest.fixture
def folder(tmp_path):
    """A small model."""
    make_head(CAUSAL.__name__).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def add_tokenizer(folder):
    words = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2}, "[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)


def write_adapter(root, base, name):
    """An adapter on a base model on the Hub, and the file of its outputs."""
    model = get_peft_model(CAUSAL.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = name
    model.save_pretrained(root / "adapter")
    add_tokenizer(root / "adapter")
    return root / "adapter", save_expected_outputs(model.base_model.model, root / "adapter.pt")


def test_every_head_arrives_and_loads_by_the_printed_lines_without_the_package_and_offline(hub, root, heads, capsys):
    """Bit for bit, in shards too, with its tokenizer; and an adapter. Of each architecture one is loaded."""
    sharded, _ = heads[CAUSAL.__name__]
    make_head(CAUSAL.__name__).save_pretrained(sharded, max_shard_size="20KB")
    add_tokenizer(sharded)
    worker, loaded = Worker(), heads | {"adapter": write_adapter(root, sharded, f"user/{CAUSAL.__name__}")}
    for name in (*HEADS, "adapter"):
        folder, expected = loaded.get(name, (root / name, None))
        if expected is None:
            make_head(name).save_pretrained(folder)
        lines = printed_lines(push(capsys, folder, f"user/{name}"))
        assert ("AutoTokenizer" in lines) is (folder / "tokenizer.json").exists()
        served = hub.repositories[f"user/{name}"].files("main")
        assert {file: path.read_bytes() for file, path in served.items()} == {
            path.name: path.read_bytes() for path in folder.iterdir()
        }
        for offline in (False, True) if expected else ():
            worker.add_job(name, offline, function="run_lines", code=lines, expected=expected, offline=offline)
    assert len([*sharded.glob("model-*-of-*.safetensors")]) > 1
    results = Reader(root / "readers", "hidden", [worker], hub.endpoint).finish()
    for (name, _offline), found in results.items():
        assert found == {"class": found.get("class"), "module": found.get("module"), "differences": {}}, name
        assert found["class"] == (CAUSAL.__name__ if name == "adapter" else name)
    assert {name for name, _ in results} == {*loaded}


def test_what_a_run_leaves_beside_its_model_stays(hub, folder, capsys, monkeypatch):
    for name in LEFT_OUT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "notes.txt").write_text("private", encoding="utf-8")
    arguments = (folder, "user/left-out", "--leave_out", "notes*")
    shown = push(capsys, *arguments, "--dry_run")
    assert all(name in shown.split("left out", 1)[1] for name in (*LEFT_OUT, "notes.txt"))
    assert f"Next: hf-tfm push {folder} user/left-out --leave_out 'notes*'" in shown
    assert "user/left-out" not in hub.repositories
    assert not (folder / "README.md").exists()
    with monkeypatch.context() as patched:
        patched.setattr("hf_tfm.hub.push_command.get_token", lambda: None)
        assert "Not checked without a token" in push(capsys, *arguments, "--dry_run")
    push(capsys, *arguments)
    sent = {*hub.repositories["user/left-out"].files("main")}
    assert sent == {path.name for path in folder.iterdir() if path.is_file()} - {*LEFT_OUT, "notes.txt"}


def test_versions(hub, folder, capsys):
    """A branch, a tag and a pull request each keep what was pushed to them, and are named in the printed lines."""

    revisions = {}
    versions = {None: [], "v1": ["--tag", "v1"], "dev": ["--revision", "dev"], "refs/pr/1": ["--create_pr"]}
    for number, (revision, options) in enumerate(versions.items()):
        (folder / "count.txt").write_text(str(number))
        lines = printed_lines(push(capsys, folder, "user/versions", *options))
        assert (re.findall(r'revision="([^"]+)"', lines) or [None])[0] == revision
        revisions[revision or "main"] = str(number)
    repository = hub.repositories["user/versions"]
    # the tag was pushed to main
    expected = revisions | {"main": revisions["v1"]}
    found = {name: repository.files(name)["count.txt"].read_text() for name in revisions}
    assert found == expected
    assert "has a tag v1" in refusal(capsys, folder, "user/versions", "--tag", "v1")


def test_a_private_repository_is_not_shown_to_others(hub, folder, capsys):
    push(capsys, folder, "user/private", "--private")
    assert HfApi().model_info("user/private").private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(token=False).model_info("user/private")
    push(capsys, folder, "user/public")
    assert "is public" in refusal(capsys, folder, "user/public", "--private")


REFUSED = {
    "no token": ("user/x", "hf auth login"), "wrong-token": ("user/x", "refuses this token"),
    "token-that-reads": ("user/x", "only reads"),
}  # fmt: skip


@pytest.mark.parametrize("token", REFUSED)
def test_a_token_that_cannot_write_is_refused(hub, folder, capsys, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", "" if token == "no token" else token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "none"))
    assert REFUSED[token][1] in refusal(capsys, folder / "does-not-exist", REFUSED[token][0])
    assert not [path for path, _ in hub.requests if "create" in path or "commit" in path]


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("user/my model", [], "no name of a model"), ("a/b/c", [], "no name of a model"),
        ("hf_abcdefghijklmnopqrstu/x y", [], "<HIDDEN>"), ("someone/x", [], "begin with user/, lab/"),
        ("user/none", ["--create_pr"], "does not exist"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_pushed_to_is_refused(folder, capsys, name, options, word):
    assert word in refusal(capsys, folder, name, *options)


def test_the_repository_of_others_is_refused_but_takes_pull_requests(hub, folder, capsys, tmp_path):
    hub.add("someone/model", folder)
    assert "no right to write" in refusal(capsys, folder, "someone/model")


def test_doctor_takes_a_name_on_the_hub(hub, folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    push(capsys, folder, "user/patient", "--tag", "v1")
    cli.main(["doctor", "user/patient", "--revision", "v1"])
    shown = capsys.readouterr().out
    assert "0 broken" in shown
    assert printed_lines(shown.replace("Next:", "Load it:")).startswith("from transformers import AutoModelForCausalLM")


def test_offline_is_refused(folder, capsys, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(capsys, folder, "user/x")


def damage(folder, how):
    config = json.loads((folder / "config.json").read_text())
    if how == "no model":
        (folder / "config.json").unlink()
    elif how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "code":
        (folder / "rotary_embedding.py").unlink()
    elif how == "path":
        (folder / "config.json").write_text(json.dumps(config | {"note": f"{folder.resolve()}/x"}, indent=1))
    elif how == "token":
        (folder / "README.md").write_text("# a\n\nhf_abcdefghijklmnopqrstuvwxyz\n")
    elif how == "base":
        (folder / "config.json").unlink()
        (folder / "adapter_model.safetensors").touch()
        fields = {"peft_type": "LORA", "base_model_name_or_path": str(folder)}
        (folder / "adapter_config.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no model", ["no config.json"]), ("no weights", ["no weights"]),
        ("code", ["lacks the code rotary_embedding.py"]), ("path", ["config.json:", "the path"]),
        ("token", ["README.md:3", "a token"]), ("base", ["base model first"]),
    ],
)  # fmt: skip
def test_a_folder_that_others_could_not_use_or_should_not_see_is_refused(hub, folder, capsys, how, words):
    damage(folder, how)
    said = refusal(capsys, folder, "user/damaged", "--dry_run")
    assert all(word in said for word in words), said
    assert "abcdefghijklmnopqrstuvwxyz" not in said


@pytest.mark.parametrize("place", ["commit", "objects"])
@pytest.mark.parametrize("how", [500, BROKEN])
def test_a_push_that_breaks_is_tried_again(hub, folder, capsys, monkeypatch, place, how):
    # huggingface_hub itself repeats the request of a large file, which would take seconds
    monkeypatch.setattr("huggingface_hub.lfs.http_backoff", once)
    broken = []

    def break_first(path, token):
        if f"/{place}" in path and not broken:
            broken.append(path)
            return how
        return None

    monkeypatch.setattr(hub, "on_request", break_first)
    shutil.rmtree(hub.root, ignore_errors=True)
    hub.objects.clear()
    hub.repositories.pop("user/broken", None)
    said = push(capsys, folder, "user/broken")
    assert broken
    assert "trying again" in said
    assert {*hub.repositories["user/broken"].files("main")} == {path.name for path in folder.iterdir()}
    assert hub.repositories["user/broken"].messages == ["Push by hf-tfm"]


def once(method, url, **kwargs):
    from huggingface_hub.utils import get_session

    return get_session().request(method, url, **kwargs)


def test_what_the_hub_refuses_is_not_tried_again(hub, folder, capsys, monkeypatch):
    monkeypatch.setattr(hub, "on_request", lambda path, token: 403 if "/commit" in path else None)
    with pytest.raises(SystemExit):
        push(capsys, folder, "user/refused")
    assert "trying again" not in capsys.readouterr().out


def test_the_card_names_what_the_hub_needs(hub, folder, capsys):
    push(capsys, folder, "user/card", "--license", "mit", "--tag", "v1")
    card = ModelCard((folder / "README.md").read_text())
    assert (card.data.license, card.data.tags, card.data.library_name) == ("mit", ["hf_tfm"], "transformers")
    card.text = card.text.replace('"user/card", revision="v1"', '"runs/mine"') + "\nOwn words.\n"
    (folder / "README.md").write_text(str(card))
    push(capsys, folder, "user/card")
    card = ModelCard(hub.repositories["user/card"].files("main")["README.md"].read_text())
    assert card.data.license == "mit"
    assert '"user/card", trust_remote_code=True' in card.text
    assert "Own words." in card.text


TRAINING = OPTIONS | {
    "train_file": "own.jsonl", "block_size": 16, "max_steps": 2, "eval_steps": 2, "save_steps": 1, "push_to_hub": True,
    "hub_license": "mit", "hub_revision": "dev",
}  # fmt: skip


def test_a_run_pushes_models_with_their_code_and_a_card_whose_lines_load_them(hub, root):
    folder = root / "training"
    folder.mkdir()
    rows = (json.dumps({"text": f"The sky {row} is blue."}) + "\n" for row in range(90))
    (folder / "own.jsonl").write_text("".join(rows))
    options = cli_arguments(**TRAINING, output_dir="out", hub_model_id="user/trained", hub_strategy="every_save")
    HfApi().create_repo("user/trained")
    HfApi().create_branch("user/trained", branch="dev")
    done = train(folder, *options, job=partial(connect, hub.endpoint))
    assert done.code == 0, done.stderr
    repository = hub.repositories["user/trained"]
    first, *progress, last = repository.messages
    assert (first, last) == ("Start of training", "End of training")
    # a save that finds the push of the one before still under way is not pushed
    assert progress[0] == "Training in progress, step 1"
    files = [{*folder.rglob("*")} for folder in repository.commits.values()]
    assert all({"modeling_tfm_decoder.py", "tokenizer.json"} <= {path.name for path in found} for found in files[1:])
    assert not [path for path in files[-1] if path.name in ("training_args.bin", "optimizer.pt")]
    card = ModelCard(repository.files("dev")["README.md"].read_text())
    assert (card.data.license, card.data.tags) == ("mit", ["hf_tfm"])
    assert 'model="user/trained", revision="dev", trust_remote_code=True' in card.text


def test_a_run_that_could_not_push_is_refused_before_its_data_are_read(hub, root, monkeypatch):
    options = {"train_file": "missing.jsonl", "output_dir": "refused", "push_to_hub": True, "hub_model_id": "someone/x"}
    done = train(root, *cli_arguments(**options), job=partial(connect, hub.endpoint))
    assert done.code == 1
    assert "begin with user/, lab/" in done.stderr
    assert "missing.jsonl" not in done.stderr
