"""A saved folder holds the code that its model needs, all of it and nothing else."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers.utils import hub

import hf_tfm
from hf_tfm.modeling import modeling_tfm
from tests.modeling.remote_code.checkpoints import (
    HEADS,
    LANGUAGE_HEADS,
    assert_complete,
    assert_nothing_stale,
    make_head,
)

# one pytest worker runs all tests of this folder: every other one would start its own readers
pytestmark = pytest.mark.xdist_group("remote_code")


def test_every_public_model_is_in_an_auto_map():
    public = {name for name in hf_tfm.__all__ if isinstance(getattr(hf_tfm, name), type)}
    models = {name for name in public if issubclass(getattr(hf_tfm, name), modeling_tfm.TfmPreTrainedModel)}
    assert models == set(HEADS), f"only public: {models - set(HEADS)}; only in an _auto_map: {set(HEADS) - models}"


@pytest.mark.parametrize("name", HEADS)
def test_saved_folder_holds_exactly_the_code_needed_and_the_whole_auto_map(checkpoints, name):
    folder = checkpoints[name][0]
    assert_complete(folder, HEADS[name][1])
    odd = [path.name for path in folder.iterdir() if path.is_dir() or path.name.startswith("_")]
    assert not odd, f"{odd}: transformers copies no folders, and Trainer pushes no name with a leading underscore"


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_stack_of_an_encoder_decoder_is_saved_without_stale_entries(tmp_path, stack):
    getattr(make_head("TfmSeq2SeqModel"), stack).save_pretrained(tmp_path)
    assert_nothing_stale(tmp_path)


@pytest.mark.parametrize("kind", ["checkpoint-1", "final"])
@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_trainer_writes_the_code_needed_and_the_whole_auto_map(trained, name, kind):
    assert_complete(trained[name][0][kind], HEADS[name][1])


@pytest.mark.parametrize("name", LANGUAGE_HEADS)
def test_push_to_hub_uploads_the_complete_folder(checkpoints, monkeypatch, tmp_path, name):
    def keep_folder(self, working_dir, repo_id, files_timestamps, **kwargs):
        Path(working_dir).rename(tmp_path / "pushed")
        Path(working_dir).mkdir()

    repository = SimpleNamespace(create_repo=lambda repo_id, **kwargs: SimpleNamespace(repo_id=repo_id))
    card = SimpleNamespace(save=lambda path: Path(path).write_text("card"))
    monkeypatch.setattr(hub, "hf_api", lambda *args, **kwargs: repository)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *args, **kwargs: card)
    monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", keep_folder)
    head = HEADS[name][1]
    head.from_pretrained(checkpoints[name][0]).push_to_hub("someone/model")
    assert_complete(tmp_path / "pushed", head)
    assert (tmp_path / "pushed" / "model.safetensors").exists()
