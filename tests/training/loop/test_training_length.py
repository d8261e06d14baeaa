"""How long a run trains by default on the user's data, what is printed about it, and that built-in data and given
options decide for themselves."""

import argparse
from dataclasses import replace

import pytest
from transformers import TrainerControl, TrainerState

from hf_tfm.training.arguments.training_arguments import MAX_STEPS
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.loop import training_length as lengths
from hf_tfm.training.loop.training_length import TimeEstimate, fit_length_to_data, training_length
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import make_tiny


def parse(*arguments):
    return parse_arguments([*arguments, "--use_cpu", "--train_file", "rows.jsonl"]).training


@pytest.mark.parametrize(
    ("rows", "rows_per_step", "steps", "passes"),
    [
        (3, 16, lengths.LEAST_STEPS, "400.0 passes"),
        (1000, 16, 630, "10.0 passes"),
        (10_000, 16, 6250, "10.0 passes"),
        (10_000, 64, 1570, "10.0 passes"),
        (1_600_000, 16, lengths.MOST_STEPS, "0.1 passes"),
        (None, 16, lengths.MOST_STEPS, ""),
    ],
)
def test_the_length_follows_the_rows_within_bounds(rows, rows_per_step, steps, passes):
    length = training_length(rows, rows_per_step)
    assert length.steps == steps
    assert length.passes().startswith(passes)
    assert steps / length.eval_steps <= lengths.EVALUATIONS


@pytest.mark.parametrize("task", OBJECTIVES)
def test_every_task_has_a_length_for_the_users_data(task, capsys):
    args, data = parse("--task", task), make_tiny("sequence-classification").data
    fit_length_to_data(args, data, range(8000))
    expected = training_length(8000, args.train_batch_size)
    assert (args.max_steps, args.eval_steps) == (expected.steps, expected.eval_steps)
    assert args.early_stopping_patience == lengths.PATIENCE
    said = capsys.readouterr().out
    assert f"Length: {expected.steps:,} steps; 10.0 passes over the rows; stops after 5 evaluations without" in said
    assert "--max_steps, --num_train_epochs" in said


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (["--max_steps", "7"], "max_steps", 7),
        (["--num_train_epochs", "2"], "max_steps", -1),
        (["--eval_steps", "33"], "eval_steps", 33),
        (["--early_stopping_patience", "2"], "early_stopping_patience", 2),
        (["--early_stopping_patience", "0"], "early_stopping_patience", 0),
        (["--max_steps", "7"], "early_stopping_patience", None),
        (["--fsdp_size", "2", "--optimizer", "adamw"], "early_stopping_patience", lengths.PATIENCE),
        (["--save_strategy", "no"], "early_stopping_patience", None),
        (["--eval_strategy", "no"], "early_stopping_patience", None),
    ],
)
def test_given_options_decide(options, name, value):
    args, data = parse(*options), make_tiny("causal-lm").data
    fit_length_to_data(args, data, range(8000))
    assert getattr(args, name) == value


@pytest.mark.parametrize("task", OBJECTIVES)
def test_builtin_data_keep_the_defaults_of_their_task(task):
    args = parse_arguments(["--task", task, "--use_cpu"]).training
    fit_length_to_data(args, replace(make_tiny("causal-lm").data, is_default=True), range(8000))
    assert args.max_steps == OBJECTIVES[task].default_arguments.get("max_steps", MAX_STEPS)
    assert args.early_stopping_patience is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--early_stopping_patience", "-1"], "0 (never) or more"),
        (["--early_stopping_patience", "3", "--save_strategy", "no"], "leave out --eval_strategy no"),
        (
            ["--early_stopping_patience", "3", "--save_steps", "100", "--load_best_model_at_end"],
            "leave out --load_best",
        ),
    ],
)
def test_early_stopping_is_refused_where_it_cannot_choose(options, words, capsys):
    with pytest.raises(SystemExit):
        parse(*options)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.1, "About 38 seconds"), (1, "About 6 minutes"), (100, "About 10.6 hours")]
)
def test_the_estimated_time_is_printed(seconds, words, monkeypatch, capsys):
    times = iter([1000.0, 1000.0 + seconds * lengths.MEASURED_STEPS])
    monkeypatch.setattr(lengths.time, "perf_counter", lambda: next(times))
    args = argparse.Namespace(early_stopping_patience=5)
    estimate, control, state = TimeEstimate(), TrainerControl(), TrainerState(global_step=10, max_steps=410)
    estimate.on_train_begin(args, state, control)
    for step in range(11, 60):
        state.global_step = step
        estimate.on_step_end(args, state, control)
    expected = f"{words} for the other 380 of 410 steps; stops after 5 evaluations without improvement"
    assert expected in capsys.readouterr().out
