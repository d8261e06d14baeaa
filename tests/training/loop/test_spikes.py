"""A spike is found, named and, if that is wanted, skipped or the end of the run."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.spikes import MIN_STEPS, SPIKES_FILE, SpikeCallback, Window
from hf_tfm.training.loop.trainer import TfmTrainer
from tests.training.tiny import ROWS, make_tiny

POISONED_STEP, STEPS = 27, 32
POISON = 40.0


class PoisonedTrainer(TfmTrainer):
    """The loss of one micro-batch of one step is multiplied by POISON."""

    poisoned: dict | None = None

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if model.training and self.state.global_step == POISONED_STEP - 1 and self.poisoned is None:
            self.poisoned = inputs
            return loss * POISON
        return loss


def trainer_of(folder, kind=PoisonedTrainer, **options):
    tiny = make_tiny("causal-lm", [ROWS["causal-lm"](number) for number in range(64)])
    args = TfmTrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, warmup_steps=0, max_steps=STEPS, eval_strategy="no", save_steps=STEPS - 10,
        optimizer="adamw", logging_steps=1, **options,
    )  # fmt: skip
    return kind(tiny.model(), args, tiny.data, tiny.examples, tiny.tokenizer)


def lines(folder):
    path = folder / SPIKES_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def weights(trainer):
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def test_a_spike_is_scored_and_does_not_hide_the_next_one():
    window = Window()
    assert [window.score(2.0 + 0.1 * (-1) ** step) for step in range(MIN_STEPS)] == [None] * MIN_STEPS
    assert window.score(2.3) < 6 < window.score(2.9)
    assert window.score(9.0) > 6
    assert window.score(math.nan) == math.inf
    assert max(window.values) < 4
    # values that stay high are soon no spikes
    assert [window.score(9.0) > 6 for _ in range(20)][-1] is False
    assert Window().score(math.inf) == math.inf


def test_the_file_names_the_batch_of_the_spike(tmp_path, capsys):
    trainer = trainer_of(tmp_path, on_spike="log")
    trainer.train()
    [spike] = lines(tmp_path)
    assert (spike["step"], spike["action"]) == (POISONED_STEP, "log")
    assert spike["scores"]["loss"] > 6 < spike["scores"]["grad_norm"]
    ids = trainer.poisoned["input_ids"].tolist()
    assert [row["input_ids"] for row in spike["rows"]][:2] == ids
    assert len(spike["rows"]) == 4, "the rows of both accumulated micro-batches"
    assert spike["rows"][0]["text"] == trainer.processing_class.decode(ids[0])
    assert f"Step {POISONED_STEP} is a spike (loss " in capsys.readouterr().out
    without = trainer_of(tmp_path / "none", on_spike="none")
    without.train()
    assert all(torch.equal(weight, weights(without)[name]) for name, weight in weights(trainer).items())


@pytest.mark.parametrize("task", ROWS)
def test_the_rows_of_every_task_are_written(task):
    tiny = make_tiny(task)
    batch = tiny.batch(tiny.model(), training=True)
    trainer = SimpleNamespace(processing_class=tiny.tokenizer, args=SimpleNamespace(on_spike="log"))
    rows = SpikeCallback(trainer).rows(batch)
    assert [row["input_ids"] for row in rows] == batch["input_ids"].tolist()
    text = rows[0]["text"]
    assert "sky" in (text if isinstance(text, str) else text[0]).lower()
    json.dumps(rows)


class Snapshots(PoisonedTrainer):
    """Keeps weights and optimizer state after the step before the poisoned one, and after that."""

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        if self.state.global_step in (POISONED_STEP - 1, POISONED_STEP):
            state = {id(p): {k: v.clone() for k, v in s.items()} for p, s in self.torch_optimizer().state.items()}
            self.__dict__.setdefault("snapshots", []).append((weights(self), state))
        super()._maybe_log_save_evaluate(*args, **kwargs)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_skipped_step_changes_neither_weights_nor_momentum(tmp_path, optimizer):
    trainer = trainer_of(tmp_path, Snapshots, on_spike="skip", ema_decay=0.0)
    trainer.args.optimizer = optimizer
    trainer.train()
    (before, momentum), (after, same_momentum) = trainer.snapshots
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(momentum[p][k], same_momentum[p][k]) for p in momentum for k in momentum[p])
    assert trainer.state.global_step == STEPS
    rates = [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]
    assert rates[POISONED_STEP] < rates[POISONED_STEP - 1], "the schedule goes on"


def test_a_poisoned_run_with_skip_ends_as_good_as_one_without_poison(tmp_path):
    losses = {}
    for name, kind, action in (
        ("clean", TfmTrainer, "none"), ("skipped", PoisonedTrainer, "skip"), ("poisoned", PoisonedTrainer, "none"),
    ):  # fmt: skip
        trainer = trainer_of(tmp_path / name, kind, on_spike=action, max_grad_norm=0.0)
        trainer.args.optimizer, trainer.args.learning_rate = "trainer", 0.1
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1, momentum=0.9)
        trainer.train()
        losses[name] = trainer.evaluate()["eval_loss"]
    assert abs(losses["skipped"] - losses["clean"]) < 0.05, losses
    assert losses["poisoned"] > losses["clean"] + 0.2, losses


def test_stop_ends_the_run_with_a_checkpoint_and_one_sentence_and_resumes_after_it(tmp_path):
    trainer = trainer_of(tmp_path, Snapshots, on_spike="stop")
    with pytest.raises(
        ValueError, match=rf"^Step {POISONED_STEP} is a spike .*{SPIKES_FILE}.*; the same command resumes"
    ):
        trainer.train()
    checkpoint = tmp_path / f"checkpoint-{POISONED_STEP}"
    resumed = trainer_of(tmp_path, TfmTrainer, on_spike="stop")
    resumed.train(str(checkpoint))
    assert resumed.state.global_step == STEPS
    skipped = trainer_of(tmp_path / "skip", on_spike="skip")
    skipped.train()
    assert all(torch.equal(weight, weights(skipped)[name]) for name, weight in weights(resumed).items())
    for name, window in resumed.spikes.windows.items():
        assert list(window.values) == list(skipped.spikes.windows[name].values), "windows of a resumed run"


def test_what_is_no_number_is_a_spike_from_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.training.loop.test_spikes.POISON", math.nan)
    monkeypatch.setattr("tests.training.loop.test_spikes.POISONED_STEP", 2)
    trainer = trainer_of(tmp_path, on_spike="skip")
    trainer.train()
    assert [(spike["step"], spike["loss"]) for spike in lines(tmp_path)] == [(2, "nan")]
    assert all(torch.isfinite(weight).all() for weight in weights(trainer).values())


def test_deepspeed_is_refused(tmp_path):
    args = TfmTrainingArguments(output_dir=str(tmp_path), use_cpu=True, on_spike="skip")
    args.deepspeed = "ds.json"
    with pytest.raises(ValueError, match="--on_spike skip does not work with DeepSpeed"):
        args.check_on_spike()
