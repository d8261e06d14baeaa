"""A run without a single step is refused."""

import pytest
from torch.utils.data import DataLoader

from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.option_checks import check_rows
from tests.training.loop.test_trainer import trainer_of
from tests.training.tiny import make_tiny


@pytest.mark.parametrize("options", [{"max_steps": 0}, {"max_steps": -1}, {"max_steps": -1, "num_train_epochs": -2}])
def test_options_without_a_step_are_refused(tmp_path, options):
    with pytest.raises(ValueError, match="are no steps"):
        TfmTrainingArguments(output_dir=str(tmp_path), **options)


def test_rows_that_give_no_batch_are_refused(tmp_path):
    args = TfmTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, dataloader_drop_last=True, per_device_train_batch_size=5
    )
    check_rows(args, range(5))
    with pytest.raises(ValueError, match="no batch of 5 rows, because there are 4"):
        check_rows(args, range(4))
    args.dataloader_drop_last = False
    check_rows(args, range(4))
    with pytest.raises(ValueError, match="No row is left"):
        check_rows(args, [])


def test_a_run_whose_stream_gave_no_batch_ends_with_an_error(tmp_path):
    """It wrote a card about a model that was not trained."""
    trainer = trainer_of(make_tiny("masked-lm"), tmp_path)
    trainer.get_train_dataloader = lambda: DataLoader([])
    with pytest.raises(ValueError, match="No step was trained"):
        trainer.train()
