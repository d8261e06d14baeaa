"""Whose folder it is and where a run goes on; tests/training/test_resume.py does it with runs that are killed."""

import json
import shutil
from types import SimpleNamespace

import pytest

from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.loop.output_dir import (
    INCOMPLETE_MARKER,
    RUN_FILE,
    check_disk_space,
    open_output_dir,
    remove_new_files_on_error,
)


def arguments_for(folder, *words):
    return parse_arguments(["--output_dir", str(folder), "--use_cpu", *words])


def checkpoint(folder, step):
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    (place / "trainer_state.json").write_text("{}")
    return place


def begin(folder, *words, data="abc"):
    """What a run leaves that has just begun."""
    found = open_output_dir(arguments_for(folder, *words))
    found.begin_run(data)
    return found


def test_a_new_folder_is_made_and_claimed(tmp_path):
    begin(tmp_path / "new" / "run", "--seed", "7")
    written = json.loads((tmp_path / "new" / "run" / RUN_FILE).read_text())
    assert written["data"] == "abc"
    assert written["options"]["seed"] == 7
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == [RUN_FILE]


def test_the_same_command_goes_on_from_the_newest_checkpoint_by_number(tmp_path):
    begin(tmp_path)
    assert open_output_dir(arguments_for(tmp_path)).resume_from is None
    for step in (3, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert open_output_dir(arguments_for(tmp_path)).resume_from == str(tmp_path / "checkpoint-100")


def test_a_checkpoint_that_is_not_whole_is_named_and_passed_over(tmp_path, capsys):
    begin(tmp_path)
    checkpoint(tmp_path, 3)
    (checkpoint(tmp_path, 6) / "trainer_state.json").unlink()
    (checkpoint(tmp_path, 9) / INCOMPLETE_MARKER).touch()
    assert open_output_dir(arguments_for(tmp_path)).resume_from == str(tmp_path / "checkpoint-3")
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"Skipping {tmp_path}/checkpoint-9: it is not completely written",
        f"Skipping {tmp_path}/checkpoint-6: trainer_state.json is missing",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--hidden_size", "64"], "hidden_size (None there, 64 now)"),
        (["--train_file", "a.txt"], "train_file (None there, ['a.txt'] now)"),
        (["--block_size", "64"], "block_size (128 there, 64 now)"),
        (["--optimizer", "adamw"], "optimizer (muon there, adamw now)"),
    ],
)
def test_another_run_is_refused_and_what_differs_named(tmp_path, words, told):
    begin(tmp_path)
    with pytest.raises(FileExistsError, match="holds another run") as caught:
        open_output_dir(arguments_for(tmp_path, *words))
    assert told in str(caught.value)
    assert "--overwrite_output_dir" in str(caught.value)


def test_what_only_shows_or_writes_may_change(tmp_path):
    begin(tmp_path)
    open_output_dir(arguments_for(tmp_path, "--logging_steps", "1", "--save_total_limit", "3", "--prompt", "a", "b"))


def test_a_finished_run_is_refused(tmp_path):
    begin(tmp_path)
    (tmp_path / "all_results.json").touch()
    with pytest.raises(FileExistsError, match="this run, which is finished"):
        open_output_dir(arguments_for(tmp_path))


def test_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"not of a run of train\.py: thesis\.tex"):
        open_output_dir(arguments_for(tmp_path))


def test_changed_data_are_refused_only_where_a_run_goes_on(tmp_path):
    begin(tmp_path)
    begin(tmp_path, data="another")
    checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match="data have changed"):
        begin(tmp_path, data="abc")


def test_overwriting_deletes_when_the_new_data_are_known_and_nothing_else(tmp_path):
    begin(tmp_path)
    checkpoint(tmp_path, 3)
    (tmp_path / "all_results.json").touch()
    (tmp_path / "notes.md").touch()
    found = open_output_dir(arguments_for(tmp_path, "--seed", "3", "--overwrite_output_dir"))
    assert found.resume_from is None
    assert (tmp_path / "checkpoint-3").exists()
    found.begin_run("another")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", RUN_FILE]


def test_only_the_main_process_writes(tmp_path):
    begin(tmp_path)
    found = open_output_dir(arguments_for(tmp_path, "--overwrite_output_dir"))
    checkpoint(tmp_path, 3)
    type(found)(found.path, None, found.options, overwrite=True, is_main_process=False).begin_run("another")
    assert (tmp_path / "checkpoint-3").exists()
    assert json.loads((tmp_path / RUN_FILE).read_text())["data"] == "abc"


def test_a_named_checkpoint_is_taken_from_anywhere(tmp_path):
    named = str(checkpoint(tmp_path / "elsewhere", 3))
    assert open_output_dir(arguments_for(tmp_path / "new", "--resume_from_checkpoint", named)).resume_from == named


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda place: (place / INCOMPLETE_MARKER).touch()])
def test_a_named_checkpoint_that_is_not_whole_is_refused(tmp_path, damage):
    place = checkpoint(tmp_path, 3)
    damage(place)
    with pytest.raises(ValueError, match="checkpoint-<steps>"):
        open_output_dir(arguments_for(tmp_path / "new", "--resume_from_checkpoint", str(place)))


def test_a_shuffled_stream_is_not_begun_anew_on_resuming(tmp_path):
    words = "--streaming --train_file a.jsonl --shuffle_buffer 9 --ignore_data_skip".split()
    with pytest.raises(ValueError, match=r"--ignore_data_skip.*--shuffle_buffer"):
        open_output_dir(arguments_for(tmp_path / "new", *words))
    assert not (tmp_path / "new").exists()


def test_a_refusal_leaves_an_empty_folder_empty_and_another_as_it_was(tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "kept").touch()

    def refused(folder):
        with remove_new_files_on_error(str(folder)):
            folder.mkdir(exist_ok=True)
            (folder / "tokenizer.json").touch()
            raise ValueError("refused")

    for name in ("new", "begun"):
        with pytest.raises(ValueError, match="refused"):
            refused(tmp_path / name)
    assert not any((tmp_path / "new").iterdir())
    assert sorted(path.name for path in (tmp_path / "begun").iterdir()) == ["kept", "tokenizer.json"]


def test_space_is_counted_for_the_model_and_one_checkpoint_more_than_is_kept(tmp_path, monkeypatch):
    # 1e6 weights of 4 bytes: the model, and weights and two means in each of two checkpoints
    free = SimpleNamespace(free=28e6)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    check_disk_space(tmp_path, 1_000_000, 1)
    free.free -= 1
    with pytest.raises(OSError, match=r"0\.03 GB free.*--save_total_limit"):
        check_disk_space(tmp_path, 1_000_000, 1)
