"""A run resumes in any number of processes that reads the same rows in each step, and is refused otherwise."""

import pytest

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.batch_sizes import batch_sizes, different_batches


def arguments(monkeypatch, processes, batch, accumulation, **options):
    monkeypatch.setattr(TfmTrainingArguments, "world_size", processes)
    return TfmTrainingArguments(
        output_dir="out", use_cpu=True, report_to="none", per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation, **options,
    )  # fmt: skip


# processes, batch size, accumulated batches
SAVED = (2, 4, 3)


@pytest.mark.parametrize("now", [(2, 4, 3), (1, 4, 6), (1, 24, 1), (3, 8, 1), (4, 1, 6)], ids=str)
def test_the_same_rows_in_a_step_resume(monkeypatch, now):
    saved = batch_sizes(arguments(monkeypatch, *SAVED))
    assert different_batches(saved, arguments(monkeypatch, *now)) is None


@pytest.mark.parametrize(
    ("now", "advice"),
    [
        ((1, 4, 3), "add --per_device_train_batch_size 4 --gradient_accumulation_steps 6"),
        ((2, 8, 3), "add --per_device_train_batch_size 6 --gradient_accumulation_steps 2"),
        ((4, 4, 3), "add --per_device_train_batch_size 3 --gradient_accumulation_steps 2"),
        ((8, 4, 1), "add --per_device_train_batch_size 3 --gradient_accumulation_steps 1"),
        ((5, 4, 3), "start a number of processes that divides 24"),
    ],
)
def test_other_rows_are_refused_with_the_option_to_change(monkeypatch, now, advice):
    saved = batch_sizes(arguments(monkeypatch, *SAVED))
    args = arguments(monkeypatch, *now)
    found = different_batches(saved, args)
    assert found
    assert f"its steps read 24 rows, and those of this command {args.rows_per_step}" in found
    assert found.endswith(advice)
    advised = [int(word) for word in advice.split() if word.isdigit()]
    if len(advised) == 2:
        assert different_batches(saved, arguments(monkeypatch, now[0], *advised)) is None


def test_processes_of_tensor_parallelism_share_their_rows(monkeypatch):
    saved = batch_sizes(arguments(monkeypatch, 2, 4, 1, tp_size=2, optimizer="adamw"))
    assert saved["rows_per_step"] == 4
    assert different_batches(saved, arguments(monkeypatch, 1, 4, 1)) is None


def test_dropped_batches_need_the_same_sizes(monkeypatch):
    """The steps of an epoch are those of complete batches."""
    saved = batch_sizes(arguments(monkeypatch, 2, 4, 1, dataloader_drop_last=True))
    found = different_batches(saved, arguments(monkeypatch, 1, 4, 2, dataloader_drop_last=True))
    assert found
    assert "--dataloader_drop_last" in found
    assert "world_size (2 there, 1 now), gradient_accumulation_steps (1 there, 2 now)" in found


def test_weights_sharded_by_accelerate_need_the_same_processes(monkeypatch):
    saved = batch_sizes(arguments(monkeypatch, 2, 4, 1))
    now = arguments(monkeypatch, 1, 4, 2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert "world_size (2 there, 1 now)" in str(different_batches(saved, now))
