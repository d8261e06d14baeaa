"""Early stopping: what counts as an improvement, that the best weights are taken, and that a resumed run ends as the
unbroken one does."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.checkpoints import fault
from hf_tfm.training.loop.early_stopping import EarlyStopping
from hf_tfm.training.loop.trainer import TfmTrainer
from tests.training.tiny import make_tiny


def counted(metric, *evaluations):
    rule = EarlyStopping(2, metric)
    best = [rule.update({"eval_loss": loss, "eval_f1": f1}) for loss, f1 in evaluations]
    return best, rule.evaluations_without


@pytest.mark.parametrize(
    ("metric", "evaluations", "best", "without"),
    [
        ("loss", [(3, 0), (2, 0), (2.5, 0)], [True, True, False], 1),
        ("f1", [(3, 0.1), (4, 0.2), (5, 0.2)], [True, True, False], 1),
        # F1 stays at 0 while the loss falls, as for rare tags
        ("f1", [(3, 0), (2, 0), (1, 0)], [True, True, True], 0),
        ("f1", [(3, 0.5), (2, 0.4), (1, 0.4)], [True, False, False], 0),
        ("loss", [(math.nan, 0), (2, 0), (math.nan, 0)], [True, True, False], 1),
    ],
)
def test_a_better_metric_or_loss_is_an_improvement(metric, evaluations, best, without):
    assert counted(metric, *evaluations) == (best, without)


class Interruption(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def train(folder, resume_from=None, interrupt_at=None, max_steps=60):
    """A run that learns nothing new after a few steps: a high learning rate on eight rows."""
    tiny = make_tiny("sequence-classification")
    args = TfmTrainingArguments(
        task=tiny.objective.task, output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True,
        per_device_train_batch_size=4, warmup_steps=0, max_steps=max_steps, eval_steps=2, save_steps=3,
        save_total_limit=1, early_stopping_patience=2, optimizer="adamw", learning_rate=0.3, logging_steps=50,
        ema_decay=0.5,
    )  # fmt: skip
    trainer = TfmTrainer(tiny.model(), args, tiny.data, tiny.examples, tiny.tokenizer)
    if interrupt_at:
        trainer.add_callback(Interruption(interrupt_at))
    trainer.train(resume_from)
    return trainer


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return train(tmp_path_factory.mktemp("unbroken"))


def weights(trainer):
    with trainer.ema_weights():
        return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def assert_equal(first, second):
    assert first.state.global_step == second.state.global_step
    assert first.state.best_global_step == second.state.best_global_step
    for name, weight in weights(first).items():
        assert torch.equal(weight, weights(second)[name]), name


def test_training_ends_and_the_best_weights_are_taken(unbroken):
    state = unbroken.state
    assert state.global_step < state.max_steps
    assert unbroken.early_stopping.evaluations_without == 2
    results = unbroken.evaluate()
    values = [entry["eval_accuracy"] for entry in state.log_history if "eval_accuracy" in entry]
    assert results["eval_accuracy"] == max(values) == state.best_metric
    best = Path(str(unbroken.args.output_dir)) / f"checkpoint-{state.best_global_step}"
    assert fault(best, unbroken.args) is None


@pytest.mark.parametrize("part", ["before the end", "after the end"])
def test_a_resumed_run_ends_as_the_unbroken_one(part, unbroken, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("transformers.trainer.logger.warning", lambda text, *args: said.append(text))
    last = unbroken.state.global_step
    if part == "before the end":
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, interrupt_at=last - 1)
        kept = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    else:
        # killed between training and results
        shutil.copytree(unbroken.args.output_dir, tmp_path, dirs_exist_ok=True)
        kept = tmp_path / f"checkpoint-{last}"
    resumed = train(tmp_path, str(kept))
    assert_equal(unbroken, resumed)
    # Trainer said that the best checkpoint does not exist, which was then found
    assert not [text for text in said if "best checkpoint" in text]


def test_lost_best_weights_are_named(unbroken, tmp_path, capsys):
    shutil.copytree(unbroken.args.output_dir, tmp_path, dirs_exist_ok=True)
    state = unbroken.state
    shutil.rmtree(tmp_path / f"checkpoint-{state.best_global_step}")
    train(tmp_path, str(tmp_path / f"checkpoint-{state.global_step}"))
    assert "The best weights so far are lost" in capsys.readouterr().out


def test_the_last_step_is_evaluated(tmp_path):
    trainer = train(tmp_path, max_steps=5)
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert steps == [2, 4, 5]
