"""Options of a run: defaults of each task, options of transformers, and errors before any work is done."""

import json
import sys

import pytest

from hf_tfm.training.arguments import training_arguments
from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.fine_tuning_defaults import FINE_TUNING_ARGUMENTS
from hf_tfm.training.arguments.model_arguments import DEFAULT_CONFIG_FIELDS, ModelArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.arguments.training_arguments import LEARNING_RATES, TfmTrainingArguments
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.objectives import OBJECTIVES


def parse(*arguments):
    return parse_arguments([*arguments, "--use_cpu"])


def test_defaults_need_no_argument():
    run_args = parse()
    assert (run_args.training.task, run_args.data.train_file, run_args.training.output_dir) == (
        "causal-lm", None, "runs/causal-lm"
    )  # fmt: skip
    assert run_args.model.config_fields(OBJECTIVES["causal-lm"].default_config_fields)["recipe"] == "llama"
    assert run_args.training.max_steps > 0


@pytest.mark.parametrize("task", OBJECTIVES)
def test_every_task_has_its_own_folder_and_defaults(task):
    expected = OBJECTIVES[task].default_arguments
    for arguments in (["--task", task], [f"--task={task}"]):
        run_args = parse(*arguments)
        assert run_args.training.task == task
        assert run_args.training.output_dir == f"runs/{task}"
        for name, value in expected.items():
            [group] = [group for group in run_args if hasattr(group, name)]
            assert getattr(group, name) == value


def test_given_options_replace_the_defaults_of_the_task():
    run_args = parse("--task=seq2seq", "--vocab_size", "300", "--predict_with_generate", "False", "--max_steps", "7")
    assert (run_args.task.vocab_size, run_args.training.predict_with_generate, run_args.training.max_steps) == (
        300,
        False,
        7,
    )


def test_the_last_value_of_task_decides():
    assert parse("--task", "seq2seq", "--task", "causal-lm").task.vocab_size == TaskArguments.vocab_size


@pytest.mark.parametrize("arguments", [["--task", "seq2seq"], ["--task=seq2seq"]])
def test_help_shows_the_defaults_of_the_task(arguments, capsys):
    def help_text(*arguments):
        with pytest.raises(SystemExit) as caught:
            parse_arguments([*arguments, "--help"])
        assert caught.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    text, default_text = help_text(*arguments), help_text()
    line = "of the training text, or all its characters. (default: {})"
    assert line.format(OBJECTIVES["seq2seq"].default_arguments["vocab_size"]) in text
    assert line.format(TaskArguments.vocab_size) in default_text
    assert "unset: 192" in text
    assert f"seq2seq source target hidden_size={OBJECTIVES['seq2seq'].default_config_fields['hidden_size']}" in text
    for option in ("--recipe", "--train_file", "--optimizer", "--learning_rate", "--gradient_accumulation_steps"):
        assert option in text


def test_options_of_transformers_are_accepted():
    train = parse("--gradient_accumulation_steps", "3", "--lr_scheduler_type", "cosine", "--seed", "7").training
    assert (train.gradient_accumulation_steps, train.lr_scheduler_type, train.seed) == (3, "cosine", 7)


def test_epochs_replace_the_default_number_of_steps():
    assert parse("--num_train_epochs", "2").training.max_steps == -1
    assert parse("--num_train_epochs", "2", "--max_steps", "5").training.max_steps == 5


@pytest.mark.parametrize("task", OBJECTIVES)
def test_new_models_on_the_users_data_have_their_own_defaults_unless_given(task):
    own = ["--task", task, "--train_file", "rows.csv"]
    objective = OBJECTIVES[task]
    expected = objective.default_arguments | objective.own_data_arguments
    for name in expected.keys() - {"max_steps", "eval_steps", "vocab_size"}:
        [group] = [group for group in parse(*own) if hasattr(group, name)]
        assert getattr(group, name) == expected[name]
    assert parse(*own, "--per_device_train_batch_size", "3").training.per_device_train_batch_size == 3
    # sharded weights cannot be averaged
    assert parse(*own, "--fsdp_size", "2", "--optimizer", "adamw").training.ema_decay == 0


def test_sharding_needs_a_torch_that_saves_sharded_weights(monkeypatch, capsys):
    """It failed at the first checkpoint."""
    monkeypatch.setattr(training_arguments, "is_torch_greater_or_equal", lambda version: version != "2.8")
    with pytest.raises(SystemExit):
        parse("--fsdp_size", "2", "--optimizer", "adamw")
    assert "--fsdp_size 2 needs torch 2.8 or later" in capsys.readouterr().err


def test_learning_rate_follows_the_optimizer_unless_given():
    for optimizer, rate in LEARNING_RATES.items():
        assert parse("--optimizer", optimizer).training.learning_rate == rate
    assert parse("--optimizer", "adamw", "--learning_rate", "0.5").training.learning_rate == 0.5


@pytest.mark.parametrize(
    ("config", "kind"), [({"model_type": "tfm_encoder"}, "tfm"), ({"model_type": "bert"}, "native"),
                         ({"model_type": "tfm_encoder", "origin": "bert"}, "native")],
)  # fmt: skip
def test_fine_tuning_has_its_own_learning_rates_unless_given(config, kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    source = ["--init_from", str(tmp_path)]
    for arguments, name in ((source, kind), ([*source, "--peft", "lora"], f"{kind} adapter")):
        training_args, expected = parse_arguments(arguments).training, FINE_TUNING_ARGUMENTS[name]
        assert {option: getattr(training_args, option) for option in expected} == expected
    assert parse_arguments([*source, "--learning_rate", "1e-4"]).training.learning_rate == 1e-4


def test_a_missing_checkpoint_is_not_reported_by_the_parser(tmp_path):
    assert parse_arguments(["--init_from", str(tmp_path / "nowhere")]).training.optimizer == "muon"


def test_fields_that_are_not_given_are_left_to_the_recipe():
    fields = ModelArguments().config_fields({"recipe": "llama"})
    assert "hidden_dropout" not in fields
    assert fields == DEFAULT_CONFIG_FIELDS | {"recipe": "llama"}
    # of the task's defaults, a given recipe leaves only the sizes
    task_fields = {"hidden_size": 64, "pooling": "mean"}
    expected = DEFAULT_CONFIG_FIELDS | {"hidden_size": 64, "recipe": "gpt2"}
    assert ModelArguments(recipe="gpt2").config_fields(task_fields) == expected


@pytest.mark.parametrize("task", OBJECTIVES)
def test_options_replace_defaults_and_overrides_replace_options(task):
    task_fields = OBJECTIVES[task].default_config_fields
    defaults = ModelArguments().config_fields(task_fields)
    assert ModelArguments(hidden_size=8).config_fields(task_fields) == defaults | {"hidden_size": 8}
    overridden = ModelArguments(hidden_size=8, config_overrides='{"hidden_size": 4, "qk_norm": "head"}')
    assert overridden.config_fields(task_fields) == defaults | {"hidden_size": 4, "qk_norm": "head"}
    assert ModelArguments(recipe="gpt2").config_fields(task_fields)["recipe"] == "gpt2"


@pytest.mark.parametrize("text", ["residual_type=pre", "[1]", "{"])
def test_overrides_that_are_no_json_object_are_refused(text):
    with pytest.raises(ValueError, match="--config_overrides must be a JSON object"):
        ModelArguments(config_overrides=text)


@pytest.mark.parametrize("source", ["init_from", "config_file"])
def test_sizes_with_a_checkpoint_or_configuration_are_refused(source):
    with pytest.raises(ValueError, match=f"--{source} has its own .* leave out --hidden_size, --recipe"):
        ModelArguments(**{source: "x", "hidden_size": 8, "recipe": "gpt2"})
    assert ModelArguments(**{source: "x", "config_overrides": '{"hidden_dropout": 0.1}'}).overrides


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "juggling"], "known tasks: causal-lm"),
        (["--task=juggling"], "known tasks: causal-lm"),
        (["--task"], "expected one argument"),
        (["--optim", "adafactor"], "--optimizer trainer"),
        (["--decay_fraction", "2"], "from 0 to 1"),
        (["--ema_decay", "1"], "from 0 to below 1"),
        (["--optimizer", "sgd"], "muon"),
        (["--no_such_option"], "--no_such_option"),
        (["--hidden", "8"], "--hidden"),
        (["--max_steps", "many"], "--max_steps"),
        (["--lr_scheduler_type", "zigzag"], "zigzag"),
        (["--config_overrides", "{"], "JSON object"),
        (["--init_from", "a", "--config_file", "b"], "give one of them"),
        (["--init_from", "a", "--num_hidden_layers", "2"], "leave out --num_hidden_layers"),
        (["--merge_adapter"], "--peft lora"),
        (["--init_from", "gpt2", "--peft", "lora", "--fsdp_size", "2", "--optimizer", "adamw"], "shards them"),
        (["--mask_rate", "15"], "fraction between 0 and 1"),
        (["--packing", "tight"], "connected"),
        (["--train_file", "a.txt", "--dataset_name", "b"], "give one of them"),
        (["--test_file", "a.txt"], "add --train_file"),
        (["--train_file", "a", "b", "--mixture", "1"], "1 weight(s) for 2"),
        (["--train_file", "a", "b", "--mixture", "1", "0"], "above 0"),
        (["--train_file", "a", "b", "--mixture", "3", "-1"], "above 0"),
        (["--streaming"], "--train_file or --dataset_name"),
        (["--train_file", "a", "--shuffle_buffer", "9"], "belongs to --streaming"),
    ],
)
def test_invalid_options_are_explained_and_end_with_status_2(arguments, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message


def test_optimizers_of_trainer_can_be_selected():
    assert parse("--optimizer", "trainer", "--optim", "adafactor").training.optim == "adafactor"


def test_one_option_takes_several_values():
    data = parse("--train_file", "a", "b", "--mixture", "1", "2.5", "--columns", "text=body").data
    assert data == DataArguments(train_file=["a", "b"], mixture=[1, 2.5], columns=["text=body"])


def test_help_shows_every_option_once_with_underscores(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    options = [line.split()[0] for line in text.splitlines() if line.startswith("  --")]
    assert len(options) > 100
    assert len(options) == len(set(options))
    assert not [option for option in options if "-" in option.removeprefix("--")]
    assert "--train-file" not in text
    assert parse("--train-file", "a.txt").data.train_file == ["a.txt"]


def test_debug_without_a_value_is_no_option_of_transformers(monkeypatch):
    for arguments in ([], ["--debug"], ["--debug", "--seed", "3"], ["--seed", "3", "--debug"]):
        assert parse(*arguments).training.debug == []
    assert parse_arguments([]).training.debug == []
    assert parse("--debug", "underflow_overflow").training.debug == ["underflow_overflow"]


def test_secrets_are_hidden_in_the_command_line_afterwards(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--use_cpu", "--hub_token", "abc", "--seed", "3"])
    assert parse_arguments().training.hub_token == "abc"
    assert sys.argv == ["train.py", "--use_cpu", "--hub_token", "<HIDDEN>", "--seed", "3"]


def test_a_file_beside_the_script_gives_no_options(tmp_path, monkeypatch):
    (tmp_path / "train.args").write_text("--seed 3")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "train.py"), "--use_cpu"])
    assert parse_arguments().training.seed == TfmTrainingArguments.seed


def test_pushing_an_adapter_for_a_folder_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "tfm_decoder"}))
    push = ["--init_from", str(tmp_path), "--peft", "lora", "--optimizer", "adamw", "--push_to_hub"]
    with pytest.raises(SystemExit):
        parse(*push)
    assert "--merge_adapter" in capsys.readouterr().err
    assert parse(*push, "--merge_adapter").training.push_to_hub
