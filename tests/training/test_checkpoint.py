"""Earlier work is not written over unless asked, and resuming finds what is there."""

import pytest

from hf_tfm.training.arguments import TrainSettings
from hf_tfm.training.checkpoint import prepare_output_dir, resume_point


def settings(folder, **choices):
    return TrainSettings(output_dir=str(folder), use_cpu=True, **choices)


def test_a_new_folder_is_made(tmp_path):
    prepare_output_dir(settings(tmp_path / "new" / "run"))
    assert (tmp_path / "new" / "run").is_dir()


def test_an_unfinished_start_is_no_obstacle(tmp_path):
    (tmp_path / "config.json").touch()
    prepare_output_dir(settings(tmp_path))


@pytest.mark.parametrize("mark", ["all_results.json", "README.md", "checkpoint-20"])
def test_earlier_work_is_refused_with_the_ways_out(tmp_path, mark):
    (tmp_path / mark).mkdir()
    with pytest.raises(FileExistsError, match=mark) as caught:
        prepare_output_dir(settings(tmp_path))
    assert "--overwrite_output_dir" in str(caught.value)
    assert "--resume_from_checkpoint" in str(caught.value)


def test_overwriting_deletes_old_checkpoints_and_nothing_else(tmp_path):
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "all_results.json").touch()
    prepare_output_dir(settings(tmp_path, overwrite_output_dir=True))
    assert [path.name for path in tmp_path.iterdir()] == ["all_results.json"]


@pytest.mark.parametrize("asked", ["True", "true"])
def test_resuming_takes_the_last_checkpoint(tmp_path, asked):
    for step in (3, 20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    found = settings(tmp_path, resume_from_checkpoint=asked)
    prepare_output_dir(found)
    assert resume_point(found) == str(tmp_path / "checkpoint-100")


def test_a_named_checkpoint_is_taken(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    named = str(tmp_path / "checkpoint-3")
    assert resume_point(settings(tmp_path, resume_from_checkpoint=named)) == named


def test_nothing_asked_is_a_fresh_start(tmp_path):
    assert resume_point(settings(tmp_path)) is None
    assert resume_point(settings(tmp_path, resume_from_checkpoint="False")) is None


@pytest.mark.parametrize("asked", ["True", "nowhere/checkpoint-1"])
def test_a_missing_checkpoint_is_named(tmp_path, asked):
    with pytest.raises(ValueError, match="checkpoint-<steps>"):
        resume_point(settings(tmp_path / "none", resume_from_checkpoint=asked))
