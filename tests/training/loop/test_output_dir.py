"""To which run a folder belongs, and where a run resumes; tests/training/test_resume.py does it with killed runs."""

import json
import shutil
from types import SimpleNamespace

import pytest

from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.loop.checkpoints import MANIFEST_FILE, write_manifest
from hf_tfm.training.loop.directory_lock import LOCK_FILE
from hf_tfm.training.loop.output_dir import (
    PAGE_BYTES,
    RUN_FILE,
    check_disk_space,
    check_run_has_ended,
    open_output_dir,
)
from tests.training.tiny import make_tiny


def arguments_for(folder, *arguments):
    return parse_arguments(["--output_dir", str(folder), "--use_cpu", *arguments])


def checkpoint(folder, step):
    """A checkpoint with the files that decide whether a run resumes from it."""
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in ("trainer_state.json", "optimizer.pt", "rng_state.pth"):
        (place / name).write_text("{}")
    write_manifest(place, arguments_for(folder).training)
    return place


def begin(folder, *arguments, data="abc"):
    """Open the output directory of a run and start the run."""
    output_dir = open_output_dir(arguments_for(folder, *arguments))
    output_dir.begin_run(data)
    output_dir.close()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_is_created_with_the_options_of_the_run(tmp_path):
    begin(tmp_path / "new" / "run", "--seed", "7")
    written = json.loads((tmp_path / "new" / "run" / RUN_FILE).read_text())
    assert written["data"] == "abc"
    assert written["options"]["seed"] == 7
    assert names_in(tmp_path / "new" / "run") == [RUN_FILE]


def test_the_same_command_resumes_from_the_checkpoint_with_the_largest_step(tmp_path):
    begin(tmp_path)
    assert open_output_dir(arguments_for(tmp_path)).resume_from is None
    for step in (3, 100, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert open_output_dir(arguments_for(tmp_path)).resume_from == str(tmp_path / "checkpoint-100")


def test_an_incomplete_checkpoint_is_printed_and_skipped(tmp_path, capsys):
    begin(tmp_path)
    checkpoint(tmp_path, 3)
    (checkpoint(tmp_path, 6) / "trainer_state.json").unlink()
    (checkpoint(tmp_path, 9) / MANIFEST_FILE).unlink()
    assert open_output_dir(arguments_for(tmp_path)).resume_from == str(tmp_path / "checkpoint-3")
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"Skipping {tmp_path}/checkpoint-9: it is not completely written",
        f"Skipping {tmp_path}/checkpoint-6: trainer_state.json is missing",
    ]


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (["--hidden_size", "64"], "hidden_size (None there, 64 now)"),
        (["--train_file", "a.txt"], "train_file (None there, ['a.txt'] now)"),
        (["--block_size", "64"], "block_size (128 there, 64 now)"),
        (["--optimizer", "adamw"], "optimizer (muon there, adamw now)"),
    ],
)
def test_another_run_is_refused_and_different_options_are_listed(tmp_path, arguments, difference):
    begin(tmp_path)
    with pytest.raises(FileExistsError, match="holds another run") as caught:
        open_output_dir(arguments_for(tmp_path, *arguments))
    assert difference in str(caught.value)
    assert "--overwrite_output_dir" in str(caught.value)


def test_options_that_do_not_change_what_is_learned_may_differ(tmp_path):
    begin(tmp_path)
    open_output_dir(arguments_for(tmp_path, "--logging_steps", "1", "--save_total_limit", "3", "--prompt", "a", "b"))


def test_a_run_is_finished_when_it_says_so_and_not_before(tmp_path):
    """It was finished with its results, before its card and its push."""
    begin(tmp_path)
    (tmp_path / "all_results.json").touch()
    output_dir = open_output_dir(arguments_for(tmp_path))
    output_dir.begin_run("abc")
    output_dir.finish_run()
    with pytest.raises(FileExistsError, match="this run, which is finished"):
        open_output_dir(arguments_for(tmp_path))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"not of a run of train\.py: thesis\.tex"):
        open_output_dir(arguments_for(tmp_path))


def test_changed_data_are_refused_only_if_the_run_resumes(tmp_path):
    begin(tmp_path)
    begin(tmp_path, data="another")
    checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match="data have changed"):
        begin(tmp_path, data="abc")


def test_overwriting_deletes_the_old_run_after_the_new_data_are_read_and_nothing_else(tmp_path):
    begin(tmp_path)
    checkpoint(tmp_path, 3)
    for name in ("all_results.json", "model.safetensors", "config.json", "notes.md"):
        (tmp_path / name).touch()
    output_dir = open_output_dir(arguments_for(tmp_path, "--seed", "3", "--overwrite_output_dir"))
    assert output_dir.resume_from is None
    assert (tmp_path / "checkpoint-3").exists()
    output_dir.begin_run("another")
    output_dir.close()
    assert names_in(tmp_path) == ["notes.md", RUN_FILE]


@pytest.mark.parametrize("option", ["init_from", "config_file", "tokenizer_name", "resume_from_checkpoint"])
def test_overwriting_does_not_delete_what_the_run_reads(tmp_path, option):
    begin(tmp_path)
    place = checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match=f"would delete --{option}"):
        open_output_dir(arguments_for(tmp_path, "--overwrite_output_dir", f"--{option}", str(place)))


@pytest.mark.parametrize("text", ["{}", "", '{"options": {', '{"options": [], "data": "abc"}', "[]"])
def test_a_damaged_run_file_is_refused_with_what_to_do(tmp_path, text):
    begin(tmp_path)
    place = checkpoint(tmp_path, 3)
    (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(ValueError, match=rf"run\.json is damaged.*--resume_from_checkpoint {place}"):
        open_output_dir(arguments_for(tmp_path))
    assert names_in(tmp_path) == [place.name, RUN_FILE]


def test_a_run_that_has_not_ended_is_no_checkpoint(tmp_path):
    begin(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint yet"):
        check_run_has_ended(str(tmp_path))
    place = checkpoint(tmp_path, 3)
    with pytest.raises(ValueError, match=f"not ended.*{place}"):
        check_run_has_ended(str(tmp_path))
    check_run_has_ended(str(place))
    (tmp_path / "all_results.json").touch()
    check_run_has_ended(str(tmp_path))


def test_only_the_main_process_writes(tmp_path):
    begin(tmp_path)
    opened = open_output_dir(arguments_for(tmp_path, "--overwrite_output_dir"))
    checkpoint(tmp_path, 3)
    type(opened)(opened.path, None, opened.options, overwrite=True, is_main_process=False).begin_run("another")
    assert (tmp_path / "checkpoint-3").exists()
    assert json.loads((tmp_path / RUN_FILE).read_text())["data"] == "abc"


def test_a_given_checkpoint_may_be_in_another_folder(tmp_path):
    given = str(checkpoint(tmp_path / "elsewhere", 3))
    assert open_output_dir(arguments_for(tmp_path / "new", "--resume_from_checkpoint", given)).resume_from == given


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda place: (place / MANIFEST_FILE).unlink()])
def test_a_given_checkpoint_that_is_incomplete_is_refused(tmp_path, damage):
    place = checkpoint(tmp_path, 3)
    damage(place)
    with pytest.raises(ValueError, match="checkpoint-<steps>"):
        open_output_dir(arguments_for(tmp_path / "new", "--resume_from_checkpoint", str(place)))


def test_a_shuffled_stream_cannot_restart_when_a_run_resumes(tmp_path):
    arguments = "--streaming --train_file a.jsonl --shuffle_buffer 9 --ignore_data_skip".split()
    with pytest.raises(ValueError, match=r"--ignore_data_skip.*--shuffle_buffer"):
        open_output_dir(arguments_for(tmp_path / "new", *arguments))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_in_an_empty_folder_and_keeps_what_another_has(tmp_path, error):
    (tmp_path / "begun").mkdir()
    begin(tmp_path / "begun")

    def refused(folder):
        output_dir = open_output_dir(arguments_for(folder))
        with output_dir.remove_new_files_on_error():
            (folder / "metrics" / "0").mkdir(parents=True)
            (folder / "tokenizer.json").touch()
            raise error

    for name in ("new", "begun"):
        with pytest.raises(error):
            refused(tmp_path / name)
    assert names_in(tmp_path / "new") == [LOCK_FILE]
    assert names_in(tmp_path / "begun") == [LOCK_FILE, "metrics", RUN_FILE, "tokenizer.json"]


def test_the_check_of_the_disk_counts_everything_that_a_run_writes(tmp_path, monkeypatch):
    """As much as one model and two checkpoints have: weights, two optimizer states, the average, code, tokenizer. The
    code is counted with that of all architectures."""
    tiny = make_tiny("causal-lm")
    model = tiny.model()
    tiny.tokenizer.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "whole")
    size = sum(file.stat().st_size for file in (tmp_path / "whole").iterdir())
    tiny.tokenizer.save_pretrained(tmp_path / "run")
    there = sum(file.stat().st_size for file in (tmp_path / "run").iterdir())
    args = arguments_for(tmp_path / "run", "--save_total_limit", "1", "--ema_decay", "0.9").training
    needed = 3 * size + 2 * 3 * 4 * model.num_parameters() - there + PAGE_BYTES
    free = SimpleNamespace(free=1.5 * needed)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    check_disk_space(tmp_path / "run", model, args)
    free.free = needed
    with pytest.raises(OSError, match=r"0\.00 GB free.*--save_total_limit"):
        check_disk_space(tmp_path / "run", model, args)
