"""The same command again resumes a killed run, and the result is bitwise equal to that of an unbroken run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from transformers import AutoModelForCausalLM

from hf_tfm.training.loop.checkpoints import MANIFEST_FILE
from hf_tfm.training.loop.directory_lock import DirectoryLock

from .killed_runs import (
    OWN,
    RUNS,
    fill_the_disk_after_training,
    final_state,
    kill_at,
    kill_in_checkpoint,
    kill_in_report,
    kill_in_results,
    signal_at,
    signal_in_data,
)
from .test_train import ROOT, cli_arguments, train

pytestmark = pytest.mark.xdist_group("train")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    texts = [f"The {i}th line of a little text, which says {'no' * (i % 7)}thing." for i in range(120)]
    (folder / "own.txt").write_text("\n\n".join(texts))
    for name, rows in {"train.jsonl": texts, "few.jsonl": texts[:8]}.items():
        (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    pairs = [{"source": f"{i} and {i + 1}", "target": f"{i + 1} and {i}"} for i in range(120)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_bitwise_equal_to_an_unbroken_one(data, name):
    options, step, last_checkpoint, epochs = RUNS[name]
    command, place = cli_arguments(**options), name.split()[0] if step else "last"
    whole = train(data, *command, "--output_dir", f"whole_{place}")
    assert whole.code == 0, whole.stderr
    killed = train(data, *command, "--output_dir", place, job=partial(kill_at, step) if step else kill_in_results)
    assert killed.code == -9, killed.stderr
    state = json.loads((data / place / f"checkpoint-{last_checkpoint}" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"]["EpochCounter"]["attributes"]["epoch"] == epochs
    resumed = train(data, *command, "--output_dir", place)
    assert resumed.code == 0, resumed.stderr
    assert f"Resuming from {place}/checkpoint-{last_checkpoint}\n" in resumed.stdout
    weights, losses = final_state(data / f"whole_{place}")
    resumed_weights, resumed_losses = final_state(data / place)
    assert resumed_losses == losses
    assert resumed_weights == weights
    samples = [(data / folder / "samples.jsonl").read_text() for folder in (place, f"whole_{place}")]
    assert samples[0] == samples[1]


def test_the_same_command_resumes_a_run_that_another_process_killed(data):
    command = cli_arguments(
        **OWN | {"packing": "separate", "gradient_accumulation_steps": 2, "ema_decay": 0.9, "optimizer": "muon",
                 "per_device_train_batch_size": 2, "max_steps": 60, "save_steps": 7, "eval_steps": 25}
    )  # fmt: skip
    assert train(data, *command, "--output_dir", "whole").code == 0
    line = [sys.executable, ROOT / "train.py", *command, "--output_dir", "out"]
    with (data / "log").open("w") as log, (data / "errors").open("w") as errors:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(line, cwd=data, stdout=log, stderr=errors, env=environment)
        while process.poll() is None and (data / "log").read_text().count("'loss'") < 10:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -9, (data / "errors").read_text()
    resumed = train(data, *command, "--output_dir", "out")
    assert resumed.code == 0, resumed.stderr
    assert "Resuming from out/checkpoint-" in resumed.stdout
    assert final_state(data / "out") == final_state(data / "whole")


@pytest.fixture(scope="module")
def unbroken(data):
    """The arguments of a command, and its final state when nothing kills it."""
    command = cli_arguments(**OWN)
    assert train(data, *command, "--output_dir", "unbroken").code == 0
    return command, final_state(data / "unbroken")


@pytest.fixture(scope="module")
def killed(data, unbroken):
    """A folder with the checkpoints 3 and 6 of a run that was killed at step 8."""
    done = train(data, *unbroken[0], "--output_dir", "killed", job=partial(kill_at, 8))
    assert done.code == -9
    return data / "killed"


@pytest.mark.parametrize("damage", ["cut", "no manifest"])
def test_a_checkpoint_that_is_not_whole_is_printed_and_skipped(data, unbroken, killed, tmp_path, damage):
    """Faults of one file: tests/training/loop/test_checkpoints.py."""
    command, expected = unbroken
    place = tmp_path / "out"
    shutil.copytree(killed, place)
    if damage == "cut":
        os.truncate(place / "checkpoint-6" / "optimizer.pt", 999)
    else:
        (place / "checkpoint-6" / MANIFEST_FILE).unlink()
    resumed = train(data, *command, "--output_dir", place)
    assert resumed.code == 0, resumed.stderr
    reason = "optimizer.pt is cut short (999 of " if damage == "cut" else "it is not completely written\n"
    assert f"Skipping {place}/checkpoint-6: {reason}" in resumed.stdout
    assert f"Resuming from {place}/checkpoint-3\n" in resumed.stdout
    assert final_state(place) == expected


def test_a_run_that_was_killed_before_its_card_writes_the_card(data, unbroken):
    """It was finished with its results. What it measured in training is kept."""
    command = [*unbroken[0], "--output_dir", "cardless"]
    assert train(data, *command, job=kill_in_report).code == -9
    assert not (data / "cardless/README.md").exists()
    before = json.loads((data / "cardless/all_results.json").read_text())
    # as a version left it that did not write it whole or not at all
    (data / "cardless/all_results.json").write_text("")
    finished = train(data, *command)
    assert finished.code == 0, finished.stderr
    after = json.loads((data / "cardless/all_results.json").read_text())
    names = ("train_loss", "train_runtime", "eval_loss", "test_loss")
    assert [after[name] for name in names] == [before[name] for name in names]
    assert (data / "cardless/README.md").exists()
    # the page names the folder, and is else the same
    page, expected = ((data / name / "inspect.html").read_text() for name in ("cardless", "unbroken"))
    assert page.replace("cardless", "unbroken") == expected
    assert final_state(data / "cardless")[0] == unbroken[1][0]
    assert "which is finished" in train(data, *command).stderr


def test_a_disk_that_is_full_at_the_end_is_said_in_one_line_and_the_same_command_goes_on(data, unbroken):
    command = [*unbroken[0], "--output_dir", "full"]
    full = train(data, *command, job=fill_the_disk_after_training)
    assert full.code == 1
    assert full.stderr.splitlines()[-1].startswith("train.py: error: The disk of full is full (")
    assert full.stderr.endswith("Free some space; the same command resumes from full/checkpoint-10.\n")
    assert train(data, *command).code == 0
    assert final_state(data / "full") == unbroken[1]


def test_every_file_of_a_real_checkpoint_is_on_its_manifest(killed):
    names = {path.relative_to(killed / "checkpoint-6").as_posix() for path in (killed / "checkpoint-6").rglob("*")}
    assert names >= {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
    assert set(json.loads((killed / "checkpoint-6" / MANIFEST_FILE).read_text())["files"]) == names - {MANIFEST_FILE}


def test_a_run_that_saved_only_models_is_not_resumed(data, unbroken):
    """It went on with another optimizer state and a second warm-up."""
    command = [*unbroken[0], "--save_only_model", "--output_dir", "models"]
    assert train(data, *command, job=partial(kill_at, 8)).code == -9
    resumed = train(data, *command)
    assert resumed.code == 1
    assert "weights only" in resumed.stderr
    assert "--init_from models/checkpoint-6" in resumed.stderr
    assert "Resuming from" not in resumed.stdout
    # as the option was in the first run only
    assert train(data, *unbroken[0], "--output_dir", "models").code == 1


def test_an_unfinished_run_has_no_weights_that_could_be_taken_for_its_result(data, unbroken, killed):
    assert not list(killed.glob("*.safetensors"))
    with pytest.raises(ValueError, match=r"config\.json"):
        AutoModelForCausalLM.from_pretrained(killed)
    done = train(data, *cli_arguments(train_file="own.txt", init_from="killed", output_dir="taken"))
    assert done.code == 1
    assert "a run that has not ended" in done.stderr
    assert f"killed{os.sep}checkpoint-6" in done.stderr


def test_a_checkpoint_of_another_model_is_refused(data, unbroken, killed):
    """Tensors that it lacks kept their initial values, with a warning."""
    options = OWN | {"resume_from_checkpoint": "killed/checkpoint-6", "output_dir": "other", "num_hidden_layers": 2}
    done = train(data, *cli_arguments(**options))
    assert done.code == 1
    assert "a checkpoint of another model" in done.stderr
    assert "model.layers.1." in done.stderr


def test_the_older_checkpoint_remains_until_the_new_one_is_complete(data, unbroken):
    command, expected = unbroken
    command = [*command, "--save_total_limit", "1", "--output_dir", "cut"]
    killed = train(data, *command, job=partial(kill_in_checkpoint, 6))
    assert killed.code == -9
    assert (data / "cut/checkpoint-6/model.safetensors").exists()
    assert sorted(path.name for path in (data / "cut").glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    resumed = train(data, *command)
    assert resumed.code == 0, resumed.stderr
    assert "Skipping cut/checkpoint-6" in resumed.stdout
    assert "Resuming from cut/checkpoint-3\n" in resumed.stdout
    assert final_state(data / "cut") == expected
    assert [path.name for path in (data / "cut").glob("checkpoint-*")] == ["checkpoint-10"]


def test_a_signal_saves_the_current_step_and_the_same_command_resumes_to_the_same_bits(data, unbroken):
    command, expected = unbroken
    command = [*command, "--dataloader_num_workers", "1", "--output_dir", "ended"]
    ended = train(data, *command, job=partial(signal_at, 8, signal.SIGTERM))
    assert ended.code == 128 + signal.SIGTERM, ended.stderr
    assert "ended by SIGTERM. The same command resumes from ended/checkpoint-8\n" in ended.stdout
    assert not (data / "ended/_lock").exists()
    resumed = train(data, *command)
    assert resumed.code == 0, resumed.stderr
    assert "Resuming from ended/checkpoint-8\n" in resumed.stdout
    assert final_state(data / "ended") == expected


def test_ctrl_c_ends_with_its_status_and_a_second_one_ends_at_once(data, unbroken):
    command = [*unbroken[0], "--output_dir", "twice"]
    twice = train(data, *command, job=partial(signal_at, 2, signal.SIGINT, again=True))
    assert twice.code == -signal.SIGINT
    assert "SIGINT: the run ends after this step" in twice.stdout
    assert not list((data / "twice").glob("checkpoint-*"))
    once = train(data, *command, job=partial(signal_at, 2, signal.SIGINT))
    assert once.code == 128 + signal.SIGINT
    assert "Traceback" not in once.stderr
    assert (data / "twice/checkpoint-2" / MANIFEST_FILE).exists()


def test_a_signal_before_training_leaves_nothing(data, unbroken):
    ended = train(data, *unbroken[0], "--output_dir", "early", job=partial(signal_in_data, signal.SIGINT))
    assert ended.code == 128 + signal.SIGINT
    assert "there is no checkpoint yet" in ended.stdout
    assert not any((data / "early").iterdir())


def test_a_second_process_in_the_same_folder_is_refused(data, unbroken, tmp_path):
    """They deleted each other's checkpoints."""
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    done = train(data, *unbroken[0], "--output_dir", tmp_path)
    assert done.code == 1
    assert f"in use by another train.py (process {os.getpid()}" in done.stderr
    lock.release()
    assert not any(tmp_path.iterdir())


def test_other_options_are_refused_and_listed(data, unbroken, killed):
    done = train(data, *unbroken[0], "--learning_rate", "0.5", "--output_dir", "killed")
    assert done.code == 1
    assert "learning_rate (0.01 there, 0.5 now)" in done.stderr
    assert "--overwrite_output_dir" in done.stderr


def test_options_that_do_not_change_what_is_learned_may_differ(data, unbroken, killed, tmp_path):
    shutil.copytree(killed, tmp_path / "out")
    # Evaluation once advanced the random state, so that --eval_steps changed the dropout of later steps.
    others = ["--save_total_limit", "5", "--prompt", "Another", "--eval_steps", "7", "--output_dir", tmp_path / "out"]
    done = train(data, *unbroken[0], *others)
    assert done.code == 0, done.stderr
    (weights, losses), (expected, expected_losses) = final_state(tmp_path / "out"), unbroken[1]
    assert [row for row in losses if row[1] == "loss"] == [row for row in expected_losses if row[1] == "loss"]
    assert weights == expected
    assert {row[0] for row in losses if row[1] == "eval_loss"} >= {5, 7}


def test_changed_data_are_refused(data, unbroken, killed, tmp_path):
    shutil.copytree(killed, tmp_path / "killed")
    (tmp_path / "own.txt").write_text((data / "own.txt").read_text() + "\n\nOne line more.")
    done = train(tmp_path, *unbroken[0], "--output_dir", "killed")
    assert done.code == 1
    assert "The data have changed" in done.stderr
    assert (tmp_path / "killed/checkpoint-6/trainer_state.json").exists()


def test_overwriting_deletes_the_old_run_only_after_the_new_data_are_read(data, unbroken, killed, tmp_path):
    command, expected = unbroken
    shutil.copytree(killed, tmp_path / "out")
    (tmp_path / "out/inspect.html").write_text("the page of the old run")
    overwrite = [*command, "--no_inspect_page", "--overwrite_output_dir", "--output_dir", tmp_path / "out"]
    mistyped = train(data, *overwrite, "--train_file", "nowhere.txt")
    assert mistyped.code == 1
    assert (tmp_path / "out/checkpoint-6").exists()
    done = train(data, *overwrite)
    assert done.code == 0, done.stderr
    assert "Resuming" not in done.stdout
    assert "inspect.html" not in done.stdout
    assert not (tmp_path / "out/inspect.html").exists()
    assert final_state(tmp_path / "out") == expected
