"""What TfmTrainer adds to Trainer: label smoothing, fixed masks in evaluation, batches of similar length, epochs of
streams; and the plot of a run."""

import pytest
import torch
from datasets import IterableDataset
from torch import nn
from torch.nn import functional as F

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.length_grouped_sampler import SeededLengthGroupedSampler
from hf_tfm.training.loop.trainer import TfmTrainer
from hf_tfm.training.report.training_plot import add_throughput, plot_training
from tests.training.tiny import make_tiny


def trainer_of(tiny, folder, model=None, **options):
    options = {"max_steps": 2, "per_device_train_batch_size": 4, "warmup_steps": 0, "eval_strategy": "no"} | options
    training_args = TfmTrainingArguments(
        task=tiny.objective.task, output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True,
        save_strategy="no", **options,
    )  # fmt: skip
    return TfmTrainer(model or tiny.model(), training_args, tiny.data, tiny.examples, tiny.tokenizer)


@pytest.fixture(scope="module")
def masked():
    return make_tiny("masked-lm")


def gradients(tiny, folder, **options):
    """Gradients of one step over the same rows, not clipped, and without dropout, whose random numbers depend on the
    shape of the batch."""
    trainer = trainer_of(tiny, folder, max_steps=1, max_grad_norm=0.0, learning_rate=0.0, optimizer="adamw", **options)
    for module in trainer.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    kept = {}

    def keep(*args, **kwargs):
        kept.update({name: weight.grad.clone() for name, weight in trainer.model.named_parameters()})

    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(keep)
    trainer.train()
    return kept


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm", "sequence-classification", "seq2seq"])
def test_smoothed_micro_batches_equal_the_whole_batch(task, tmp_path):
    # rows of different length, so that micro-batches have different numbers of labels
    tiny = make_tiny(task)
    smoothed = {"label_smoothing_factor": 0.2}
    large = gradients(tiny, tmp_path, per_device_train_batch_size=8, **smoothed)
    small = gradients(tiny, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, **smoothed)
    plain = gradients(tiny, tmp_path, per_device_train_batch_size=8)
    for name, gradient in large.items():
        torch.testing.assert_close(gradient, small[name], atol=1e-6, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")
    assert any(not torch.allclose(gradient, plain[name]) for name, gradient in large.items())


def test_the_smoothed_loss_is_that_of_torch_and_evaluation_does_not_smooth(masked, tmp_path):
    trainer = trainer_of(masked, tmp_path, label_smoothing_factor=0.2)
    batch = masked.batch(trainer.model)
    with torch.no_grad():
        plain = trainer.compute_loss(trainer.model.eval(), dict(batch))
        smoothed = trainer.compute_loss(trainer.model.train(), dict(batch))
        logits = trainer.model.eval()(**batch).logits
    expected = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), label_smoothing=0.2)
    torch.testing.assert_close(smoothed, expected)
    torch.testing.assert_close(plain, F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()))
    without = trainer_of(masked, tmp_path)
    assert trainer.evaluate()["eval_loss"] == without.evaluate()["eval_loss"]


def test_training_makes_logits_only_if_the_head_requires_them(masked, tmp_path):
    model = masked.model()
    # a replaced head, as an adapter would replace it
    model.lm_head = nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    model.tie_weights()
    wrapped = trainer_of(masked, tmp_path, model, label_smoothing_factor=0.2)
    plain = trainer_of(masked, tmp_path, label_smoothing_factor=0.2)
    batch = masked.batch(plain.model)
    (expected, with_logits), (loss, without_logits) = (
        trainer.compute_loss(trainer.model.train(), dict(batch), return_outputs=True) for trainer in (wrapped, plain)
    )
    assert "logits" in with_logits
    assert "logits" not in without_logits
    torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
    plain.model.config.fused_loss = True
    assert "logits" in plain.compute_loss(plain.model.eval(), dict(batch), return_outputs=True)[1]


def test_masks_are_fixed_in_evaluation_and_change_in_training(masked, tmp_path):
    trainer = trainer_of(masked, tmp_path)
    first = [batch["labels"] for batch in trainer.get_eval_dataloader()]
    loss = trainer.evaluate()["eval_loss"]
    rows = [masked.examples["train"][row] for row in range(4)]
    labels = [trainer.data_collator(rows)["labels"]]
    trainer.set_epoch(1)
    labels.append(trainer.data_collator(rows)["labels"])
    assert not torch.equal(*labels)
    again = [batch["labels"] for batch in trainer.get_eval_dataloader()]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert trainer.evaluate()["eval_loss"] == loss


def test_some_rows_are_evaluated_during_training_and_all_at_the_end(masked, tmp_path):
    masked.data.splits["validation_subset"] = masked.data.splits["validation"].select(range(2))
    examples = masked.examples | {"validation_subset": masked.examples["validation"].select(range(2))}
    training_args = TfmTrainingArguments(
        task="masked-lm", output_dir=str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, max_steps=2,
        eval_steps=1, save_strategy="no", warmup_steps=0,
    )  # fmt: skip
    trainer = TfmTrainer(masked.model(), training_args, masked.data, examples, masked.tokenizer)
    trainer.train()
    results = trainer.evaluate_all_splits()
    during_training = next(
        row["eval_scored_tokens"] for row in trainer.state.log_history if "eval_scored_tokens" in row
    )
    assert 0 < during_training < results["eval_scored_tokens"]
    assert results["eval_scored_tokens"] == results["test_scored_tokens"]


@pytest.mark.parametrize("task", ["causal-lm", "masked-lm", "question-answering"])
def test_tasks_that_generate_no_text_refuse_predict_with_generate(task, tmp_path):
    with pytest.raises(ValueError, match=f"--predict_with_generate.*--task {task}"):
        trainer_of(make_tiny(task), tmp_path, predict_with_generate=True)


def test_rows_of_similar_length_share_a_batch_in_an_order_of_seed_and_epoch():
    lengths = [row % 10 for row in range(200)]
    sampler = SeededLengthGroupedSampler(lengths, 4, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(200))
    batches = [orders[0][start : start + 4] for start in range(0, 200, 4)]
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert sum(spread) / len(spread) < 1


def test_every_epoch_of_a_stream_has_its_own_number(masked, tmp_path):
    # Trainer takes all steps for one epoch of the stream, even if the stream is shorter.
    rows = masked.examples["train"].to_list()
    stream = IterableDataset.from_generator(lambda: iter(rows))
    masked_examples = masked.examples | {"train": stream}
    data = type(masked.data)(masked.data.splits | {"train": stream}, "a stream", False, masked.objective)
    training_args = TfmTrainingArguments(
        task="masked-lm", output_dir=str(tmp_path), use_cpu=True, report_to="none", disable_tqdm=True, max_steps=12,
        per_device_train_batch_size=2, save_strategy="no", eval_strategy="no", warmup_steps=0,
    )  # fmt: skip
    trainer = TfmTrainer(masked.model(), training_args, data, masked_examples, masked.tokenizer)
    epochs = []
    trainer.set_epoch = epochs.append
    trainer.train()
    assert epochs[:3] == [0, 1, 2]


HISTORY = [
    {
        "step": step, "loss": 6 - step / 40, "learning_rate": 0.01 * (1 - step / 100), "grad_norm": 1 + 1 / step,
        "num_input_tokens_seen": 2000 * step, "train_runtime": step * 0.5, "train_tokens_per_second": 4000.0,
    }
    for step in range(5, 101, 5)
]  # fmt: skip


def test_throughput_is_that_of_each_interval():
    history = add_throughput([*HISTORY, {"step": 100, "eval_loss": 3.0}])
    assert [entry.get("tokens_per_second") for entry in history][:3] == [None, 4000.0, 4000.0]


def test_the_plot_has_a_panel_for_everything_that_was_logged(tmp_path, monkeypatch):
    evaluations = [{"step": step, "eval_loss": 6.1 - step / 42} for step in (25, 50, 75, 100)]
    figures = []
    from matplotlib.figure import Figure

    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **kw: figures.append(figure) or save(figure, *args, **kw)
    )
    baselines = {"xz, 1.70 bits per byte": 4.4, "byte 6-gram, 1.84 bits per byte": 4.8}
    plot_training([*HISTORY, *evaluations], tmp_path / "training.png", "2,560,000 parameters\nown text", baselines)
    panels = [axes.get_ylabel().replace("\n", " ") for axes in figures[0].axes]
    assert panels == ["loss", "AdamW learning rate", "gradient norm", "tokens per second"]
    assert (tmp_path / "training.png").stat().st_size > 10_000


def test_a_run_of_one_step_can_be_plotted(tmp_path):
    plot_training(HISTORY[:1], tmp_path / "training.png", "one step")
    assert (tmp_path / "training.png").exists()
