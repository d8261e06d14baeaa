"""Settings: defaults, the host's options passing through, and errors before any work is done."""

import pytest

from hf_tfm.training.arguments import ModelArguments, parse_settings


def test_defaults_need_no_argument():
    model, data, train = parse_settings([])
    assert (model.recipe, data.train_file, train.output_dir) == ("llama", None, "runs/causal-lm")
    assert train.max_steps > 0


def test_options_of_the_host_pass_through():
    train = parse_settings(["--gradient_accumulation_steps", "3", "--lr_scheduler_type", "cosine", "--seed", "7"])[2]
    assert (train.gradient_accumulation_steps, train.lr_scheduler_type, train.seed) == (3, "cosine", 7)


def test_epochs_replace_the_default_number_of_steps():
    assert parse_settings(["--num_train_epochs", "2"])[2].max_steps == -1
    assert parse_settings(["--num_train_epochs", "2", "--max_steps", "5"])[2].max_steps == 5


def test_learning_rate_follows_the_optimizer_unless_given():
    assert parse_settings([])[2].learning_rate == 0.01
    assert parse_settings(["--optimizer", "adamw"])[2].learning_rate == 3e-3
    assert parse_settings(["--optimizer", "adamw", "--learning_rate", "0.5"])[2].learning_rate == 0.5


def test_unset_words_are_left_to_the_recipe():
    words = ModelArguments().words()
    assert "hidden_dropout" not in words
    assert "recipe" not in words


def test_overrides_win():
    assert ModelArguments(config_overrides='{"hidden_size": 8}').words()["hidden_size"] == 8


@pytest.mark.parametrize("text", ["residual_type=pre", "[1]", "{"])
def test_overrides_that_are_no_object_are_refused(text):
    with pytest.raises(ValueError, match="--config_overrides must be a JSON object"):
        ModelArguments(config_overrides=text).words()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--optim", "adafactor"], "--optimizer trainer"),
        (["--decay_fraction", "2"], "from 0 to 1"),
        (["--optimizer", "sgd"], "muon"),
        (["--no_such_option"], "--no_such_option"),
    ],
)
def test_impossible_settings_are_explained(arguments, words, capsys):
    with pytest.raises((SystemExit, ValueError)) as caught:
        parse_settings(arguments)
    assert words in capsys.readouterr().err + str(caught.value)


def test_optim_of_the_host_can_be_chosen():
    assert parse_settings(["--optimizer", "trainer", "--optim", "adafactor"])[2].optim == "adafactor"
