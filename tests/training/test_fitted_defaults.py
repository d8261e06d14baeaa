"""Defaults that suit the built-in data are not those of the user's data: vocabulary and lengths follow the data, are
printed, and yield to options; for every task."""

import json
import random
from types import SimpleNamespace

import pytest

from hf_tfm.training.arguments.model_arguments import DEFAULT_CONFIG_FIELDS
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.data.sources import load_data
from hf_tfm.training.loop.example_creation import make_examples
from hf_tfm.training.loop.model_creation import choose_model_type, make_model
from hf_tfm.training.loop.tokenizer_creation import VOCAB_SIZES, fitting_vocab_size, make_tokenizer
from hf_tfm.training.objectives import OBJECTIVES
from tests.training.tiny import ROWS, make_tiny

MEGABYTE = 1_000_000


def words(count, seed):
    """A text of so many words that tokenizers of the test have to split."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abcdefghijklmnoprstuwz", k=draw.randint(3, 8))) for _ in range(count))


# task -> changes of a good row, which make it longer than the task's default; tasks that pack rows have no such limit
LONG_ROWS = {
    "seq2seq": {"source": words(60, 1), "target": words(40, 2)},
    "sequence-classification": {"text": words(90, 1)},
    "multiple-choice": {"choices": ["a", "b", words(90, 1)]},
    "embeddings": {"positive": words(90, 1)},
    "chat": {"messages": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": words(150, 1)}]},
    "question-answering": {"context": f"It is {words(50, 1)}.",
                           "answers": {"text": [words(50, 1)], "answer_start": [6]}},
}  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(task):
    rows = [ROWS[task](number) for number in range(16)]
    return [*rows, rows[1] | LONG_ROWS.get(task, {}) | ({"id": "long"} if "id" in rows[1] else {})]


def prepared(tmp_path, task, *options, rows=None):
    """The options of a run, its data and examples, as train.py makes them before training."""
    file = write(tmp_path / "rows.jsonl", rows or rows_of(task))
    files = [f"--{split}_file={file}" for split in ("train", "validation", "test")]
    run_args = parse_arguments(["--task", task, *files, "--use_cpu", *options])
    objective = OBJECTIVES[task](run_args.task)
    model_type = choose_model_type(run_args.model, objective)
    data = load_data(objective, run_args.data)
    folder = SimpleNamespace(path=tmp_path, resume_from=None)
    tokenizer = make_tokenizer(run_args, objective, data, model_type, folder)
    data, examples = make_examples(run_args, data, tokenizer, folder)
    return run_args, data, tokenizer, examples


@pytest.mark.parametrize("task", OBJECTIVES)
def test_ordinary_rows_of_every_task_fit_by_default(task, tmp_path, capsys):
    run_args, data, tokenizer, examples = prepared(tmp_path, task)
    objective, said = data.objective, capsys.readouterr().out
    assert len(data.splits["train"]) == len(rows_of(task))
    assert "Vocabulary: at most" in said
    assert tokenizer.model_max_length == objective.max_row_length()
    defaults = objective.default_arguments
    for name, column in objective.length_columns.items():
        chosen, least = getattr(run_args.task, name), defaults[name]
        assert chosen % least == 0, "the task's default, doubled"
        assert chosen > least
        longest = max(len(ids) for row in examples["train"][column] for ids in ([row] if type(row[0]) is int else row))
        assert chosen / 2 < longest <= chosen
        assert f"--{name} {chosen} (longest row: {longest})" in said
    if task == "question-answering":
        assert run_args.task.max_answer_tokens > 30
        assert f"--max_answer_tokens {run_args.task.max_answer_tokens} (longest: " in said
    if objective.generates_text:
        model = make_model(run_args.model, objective, tokenizer)
        assert model.generation_config.max_length == run_args.task.max_target_length > defaults["max_target_length"]


@pytest.mark.parametrize("task", [task for task, objective in OBJECTIVES.items() if objective.length_columns])
def test_given_options_and_checkpoints_decide(task, tmp_path):
    names = OBJECTIVES[task].length_columns
    for name in names:
        with pytest.raises(ValueError, match=rf"rows\.jsonl, line 17 has \d+ tokens, more than --{name} 40\D"):
            prepared(tmp_path, task, f"--{name}", "40")
    with pytest.raises(ValueError, match=r"line 17 has \d+ tokens, more than --max_(target_)?length 48\D"):
        prepared(tmp_path, task, "--max_position_embeddings", "48")
    run_args, *_ = prepared(tmp_path, task, "--vocab_size", "300", "--long_texts", "truncate")
    assert run_args.task.vocab_size == 300
    assert {name: getattr(run_args.task, name) for name in names} == {
        name: OBJECTIVES[task].default_arguments[name] for name in names
    }


def test_lengths_of_a_checkpoint_are_not_exceeded(tmp_path):
    tiny = make_tiny("sequence-classification")
    tiny.model().save_pretrained(tmp_path / "checkpoint")
    tiny.tokenizer.save_pretrained(tmp_path / "checkpoint")
    rows = [ROWS["sequence-classification"](number) for number in range(16)]
    # 48 positions; the task's default would be 128
    run_args, *_ = prepared(tmp_path, "sequence-classification", "--init_from", str(tmp_path / "checkpoint"), rows=rows)
    assert run_args.task.max_length == 48


@pytest.mark.parametrize("task", OBJECTIVES)
def test_no_default_of_the_users_data_is_fitted_to_the_builtin_data(task):
    arguments = ["--task", task, "--train_file", "rows.jsonl", "--use_cpu"]
    run_args, objective = parse_arguments(arguments), OBJECTIVES[task]
    assert run_args.task.vocab_size == VOCAB_SIZES[0]
    assert {"vocab_size", *objective.length_columns} <= set(run_args.task.fits_data)
    fields = DEFAULT_CONFIG_FIELDS | objective.default_config_fields | objective.own_data_config_fields
    assert fields.get("position_type") != "none"
    assert fields.get("initializer_range", 0.02) == 0.02
    builtin = parse_arguments(["--task", task, "--use_cpu"])
    assert builtin.task.fits_data == []
    assert builtin.task.vocab_size == objective.default_arguments.get("vocab_size", VOCAB_SIZES[0])


@pytest.mark.parametrize(
    ("size", "expected"),
    [(100, 512), (40_000, 2500), (MEGABYTE, 4096), (10 * MEGABYTE, 8192), (300 * MEGABYTE, 16_384), (10**10, 32_768)],
)
def test_the_vocabulary_follows_the_size_of_the_text(size, expected, capsys):
    args = parse_arguments(["--train_file", "a.txt", "--use_cpu"]).task
    data = SimpleNamespace(streaming=False, source_bytes={"train": size})
    assert fitting_vocab_size(args, data) == expected
    assert f"Vocabulary: at most {expected:,} tokens, by your {size:,} bytes" in capsys.readouterr().out


def test_all_characters_are_in_a_vocabulary_of_characters(tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 6000)))
    rows = [{"text": text}] * 4
    _, _, tokenizer, _ = prepared(tmp_path, "causal-lm", "--tokenizer_type", "characters", rows=rows)
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    with pytest.raises(ValueError, match="6,000 different characters"):
        prepared(tmp_path, "causal-lm", "--tokenizer_type", "characters", "--vocab_size", "4096", rows=rows)


def test_sizes_of_a_stream_are_unknown(tmp_path):
    run_args, *_ = prepared(tmp_path, "seq2seq", "--streaming", "--max_steps", "1", "--max_length", "512",
                            "--max_target_length", "512")  # fmt: skip
    assert run_args.task.vocab_size == VOCAB_SIZES[0]
