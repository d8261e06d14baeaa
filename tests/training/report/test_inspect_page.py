"""The page of a finished run: every task has one, of the text that its samples show, and none fails a run."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from hf_tfm.inspection import make_report
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.report.inspect_page import PAGE_FILE, make_page, write_inspect_page
from tests.training.tiny import make_tiny


def trainer_of(tiny, model, folder):
    """What the page reads of a Trainer."""
    return SimpleNamespace(
        model=model,
        processing_class=tiny.tokenizer,
        objective=tiny.objective,
        args=SimpleNamespace(output_dir=str(folder), hub_token="secret token"),
        accelerator=SimpleNamespace(unwrap_model=lambda model: model),
        ema_weights=nullcontext,
    )


def run_args(**options):
    sharding = SimpleNamespace(sharding_options=lambda: options.get("sharded", []), sharded_by_accelerate=False)
    model = SimpleNamespace(peft=options.get("peft"), merge_adapter=False)
    return SimpleNamespace(model=model, training=sharding)


def sample_of(tiny, model):
    [first, *_] = tiny.objective.sample_inputs(tiny.data, tiny.tokenizer, None)
    return first, tiny.objective.predict_sample(model, tiny.tokenizer, first)


@pytest.mark.parametrize("task", OBJECTIVES)
def test_every_task_has_a_page_of_its_first_sample(task, tmp_path, capsys):
    tiny = make_tiny(task)
    model = tiny.model()
    first, output = sample_of(tiny, model)
    capsys.readouterr()
    written = write_inspect_page(trainer_of(tiny, model, tmp_path), run_args(), "mine", first, output)
    assert (written, capsys.readouterr().out) == (True, "")
    assert "<title>Inside mine (" in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")
    # the page holds what the card shows of the sample
    text = tiny.objective.inspected_text(tiny.tokenizer, first, output)["text"]
    shown = "".join(f"{tiny.objective.format_input(first)}{output}".split())
    parts = [text] if isinstance(text, str) else text
    if task != "chat":
        assert all("".join(part.split()) in shown for part in parts)


def test_the_text_of_a_chat_gets_no_special_token_twice():
    tiny = make_tiny("chat")
    first, output = sample_of(tiny, tiny.model())
    options = tiny.objective.inspected_text(tiny.tokenizer, first, output)
    report = make_report(tiny.model(), tiny.tokenizer, **options, knockout="none", gradient_steps=0)
    ids = tiny.tokenizer(options["text"], add_special_tokens=False).input_ids
    assert report.sequences[0].ids == ids


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"peft": "lora"}, "an adapter"), ({"sharded": ["--fsdp_size 2"]}, "processes"), ({}, "no positions left")],
)
def test_what_has_no_page_gives_one_line(options, reason, tmp_path, capsys):
    tiny = make_tiny("causal-lm")

    def refuse(*args):
        raise RuntimeError("no positions\nleft")

    tiny.objective.inspected_text = refuse
    assert not write_inspect_page(trainer_of(tiny, tiny.model(), tmp_path), run_args(**options), "m", "text", "text")
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"No {PAGE_FILE}: ")
    assert reason in line
    assert not (tmp_path / PAGE_FILE).exists()


def test_the_page_of_a_run_in_bf16_is_that_of_its_weights(tmp_path):
    """accelerate replaces the forward pass of the model by one under autocast."""
    tiny = make_tiny("causal-lm")
    model = tiny.model()
    first, output = sample_of(tiny, model)
    page = make_page(trainer_of(tiny, model, tmp_path), "mine", first, output)
    model.forward = replaced = torch.autocast("cpu", torch.bfloat16)(type(model).forward.__get__(model))
    assert make_page(trainer_of(tiny, model, tmp_path), "mine", first, output) == page
    assert model.forward is replaced
