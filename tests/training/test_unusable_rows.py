"""Every row that a task cannot use, as its values, its label or its tokens show, is refused with its file and line, or
dropped and listed; also in a stream."""

import json
import sys

import pytest
import torch
from tokenizers import normalizers

import train
from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import load_data
from hf_tfm.training.data.splits import SPLITS
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.data.usable_rows import with_usable_rows
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.preprocessing.rows import LOCATION
from tests.training.test_train import cli_arguments
from tests.training.tiny import LENGTHS, ROWS, SIZES, WORDS

pytestmark = pytest.mark.xdist_group("train")

GOOD = 24
# a character of which the tokenizer below leaves nothing
NOTHING = "\u200b"
LONG = "long " * 60


def messages(user, answer, role="user"):
    return {"messages": [{"role": role, "content": user}, {"role": "assistant", "content": answer}]}


# task -> what is wrong -> a row, or changes of a good row
UNUSABLE = {
    "causal-lm": {"no text": {"text": ["a"]}, "surrogate": {"text": "\ud800"}},
    "masked-lm": {"no text": {"text": {"a": 1}}},
    "denoising": {"no text": {"text": ["a"]}},
    "seq2seq": {
        "empty": {"target": " "},
        "long source": {"source": LONG},
        "long target": {"target": LONG},
        "nothing is left": {"source": NOTHING},
        "nothing is left of the target": {"target": NOTHING},
    },
    "sequence-classification": {
        "no label": {"label": None},
        "long": {"text": LONG},
        "nothing is left": {"text": NOTHING},
    },
    "token-classification": {
        "one tag missing": {"tags": ["O"]},
        "nothing is left of a word": {"tokens": ["Sky", NOTHING, "x"]},
        "a long word": {"tokens": ["Sky", "/".join(WORDS * 9), "x"]},
    },
    "question-answering": {
        "no answer there": {"answers": {"text": ["sky"], "answer_start": [0]}},
        "no token for the answer": {
            "context": f"so {NOTHING} be it", "answers": {"text": [NOTHING], "answer_start": [3]}
        },
        "a long question": {"question": LONG},
    },
    "multiple-choice": {
        "unknown label": {"label": 3},
        "other number of choices": {"choices": WORDS[:2], "label": 0},
        "a long choice": {"choices": ["a", "b", LONG]},
    },
    "chat": {
        "no assistant": {"messages": [{"role": "user", "content": "x"}]},
        "long": messages("Sky?", LONG),
        "a role that the template refuses": messages("Sky?", "blue", role="tool"),
    },
    "embeddings": {"empty": {"positive": " "}, "long": {"anchor": LONG}, "nothing is left": {"anchor": NOTHING}},
}  # fmt: skip
KINDS = [(task, kind) for task, kinds in UNUSABLE.items() for kind in kinds]
REFUSING_TEMPLATE = "{% if messages[0]['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path)]


def rows_of(task):
    """Rows with ids that are not repeated."""
    return [
        ROWS[task](number) | ({"id": f"q{number}"} if task == "question-answering" else {}) for number in range(GOOD)
    ]


def usable(task, files, **choices):
    """The data after every check that a run makes before it encodes them."""
    objective = OBJECTIVES[task](TaskArguments(**LENGTHS))
    data = load_data(objective, DataArguments(**files, **choices))
    style = objective.tokenizer_style(next(iter(objective.models)))
    texts = [text for row in data.splits["test"] for text in objective.texts(row)]
    tokenizer = train_tokenizer(texts, 300, objective.max_row_length(), style)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(NOTHING, "")
    if tokenizer.chat_template:
        tokenizer.chat_template = REFUSING_TEMPLATE + tokenizer.chat_template
    objective.prepare_tokenizer(tokenizer)
    data = with_usable_rows(data, tokenizer)
    objective.examples(data.splits, tokenizer, None)
    return data


def files_of(task, kind, folder, split):
    """Files of good rows, with one that cannot be used in the middle of those of a split."""
    rows = rows_of(task)
    bad = rows[7] | UNUSABLE[task][kind]
    with_bad = [*rows[:7], bad | ({"id": "bad"} if "id" in bad else {}), *rows[7:]]
    return {f"{name}_file": write(folder / f"{name}.jsonl", with_bad if name == split else rows) for name in SPLITS}


def test_every_task_has_rows_that_it_cannot_use():
    assert list(UNUSABLE) == list(OBJECTIVES)


@pytest.mark.parametrize(("task", "kind"), KINDS)
def test_one_unusable_row_is_refused_or_dropped_and_listed(task, kind, tmp_path, capsys):
    files = files_of(task, kind, tmp_path, "train")
    with pytest.raises(ValueError, match=r"train\.jsonl, line 8 ") as refused:
        usable(task, files)
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith("Correct the data, or leave such rows out with --bad_rows drop.")
    data = usable(task, files, bad_rows="drop")
    assert {name: len(data.splits[name]) for name in SPLITS} == dict.fromkeys(SPLITS, GOOD)
    [(location, reason)] = data.objective.bad_rows.dropped.items()
    assert location == f"{tmp_path}/train.jsonl, line 8"
    assert reason in str(refused.value)
    assert capsys.readouterr().out.count("Dropped 1 of 25 rows") == 1


@pytest.mark.parametrize(("task", "kind"), [case for case in KINDS if OBJECTIVES[case[0]].supports_streaming])
def test_one_unusable_row_of_a_stream_is_refused_or_dropped(task, kind, tmp_path, capsys):
    files = files_of(task, kind, tmp_path, "train")
    with pytest.raises(ValueError, match=r"train\.jsonl, line 8 .* --bad_rows drop"):
        list(usable(task, files, streaming=True).splits["train"])
    kept = list(usable(task, files, streaming=True, bad_rows="drop").splits["train"])
    assert [row[LOCATION].split()[-1] for row in kept] == [str(line) for line in range(1, GOOD + 2) if line != 8]
    assert f"Dropped {tmp_path}/train.jsonl, line 8, which " in capsys.readouterr().out


@pytest.mark.parametrize("task", ["seq2seq", "question-answering"])
def test_rows_of_evaluated_splits_stay_beside_their_predictions(task, tmp_path):
    kind = "long source" if task == "seq2seq" else "a long question"
    data = usable(task, files_of(task, kind, tmp_path, "test"), bad_rows="drop")
    assert [row[LOCATION].split()[-1] for row in data.splits["test"]] == [str(i) for i in range(1, GOOD + 2) if i != 8]
    if task == "question-answering":
        rows = rows_of(task)
        repeated = {"test_file": write(tmp_path / "repeated.jsonl", [*rows, rows[3]])}
        files = files_of(task, kind, tmp_path, None) | repeated
        with pytest.raises(ValueError, match=r"repeated\.jsonl, line 25 has the id q3, as has .*, line 4; in the test"):
            usable(task, files)
        assert len(usable(task, files, bad_rows="drop").splits["test"]) == GOOD


def test_a_dropped_row_is_listed_in_the_folder_and_on_the_card(tmp_path, monkeypatch, capsys):
    rows = rows_of("sequence-classification")
    bad = [rows[0] | {"text": LONG}, rows[0] | {"label": None}]
    files = {"train_file": write(tmp_path / "rows.jsonl", [*rows, *rows, *bad])[0]}
    folder = tmp_path / "out"
    options = (
        SIZES | files | {"task": "sequence-classification", "output_dir": folder, "max_length": 48, "max_steps": 1}
    )
    same = [f"--{name}_file={files['train_file']}" for name in ("validation", "test")]
    arguments = [*cli_arguments(**options), *same, "--use_cpu", "--disable_tqdm", "true", "--bad_rows", "drop"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    state = torch.get_rng_state()
    train.main()
    torch.set_rng_state(state)
    listed = [json.loads(line) for line in (folder / "_dropped_rows.jsonl").read_text().splitlines()]
    assert [(row["location"].split()[-1], row["reason"][:16]) for row in listed] == [
        ("50", "has no label"),
        ("49", "has 63 tokens, m"),
    ]
    card = (folder / "README.md").read_text()
    assert "2 rows that could not be used were dropped" in card
    assert "train: 48 rows" in card
    # the text has the label in it
    assert "A simple method is better than this model here: linear classifier" in capsys.readouterr().out
