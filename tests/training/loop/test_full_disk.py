"""A disk that becomes full while a checkpoint is written leaves the checkpoint before, and is said in one sentence."""

import errno
import os
from contextlib import contextmanager

import pytest

from hf_tfm.training.loop.checkpoints import checkpoint_folders, fault
from hf_tfm.training.loop.output_dir import full_disk_errors
from hf_tfm.training.utils.files import is_full_disk, write_atomically
from tests.training.loop.test_trainer import trainer_of
from tests.training.tiny import make_tiny

resource = pytest.importorskip("resource")


@contextmanager
def largest_file(size):
    """No file can become larger, as on a full disk: torch, safetensors and Python fail in their own ways."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def full_at_the_end():
    """Files are written, and do not reach the disk."""

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", full)
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trainer that saved checkpoint-2, and the sizes of its files."""
    folder = tmp_path_factory.mktemp("full")
    trainer = trainer_of(make_tiny("masked-lm"), folder, ema_decay=0.9, save_total_limit=1)
    trainer.train()
    trainer._save_checkpoint(trainer.model, None)
    return trainer, folder, {path.name: path.stat().st_size for path in (folder / "checkpoint-2").iterdir()}


@pytest.mark.parametrize(
    "first_to_fail", ["optimizer.pt", "model.safetensors", "ema.safetensors", "tokenizer.json", "rng_state.pth", "sync"]
)
def test_a_checkpoint_that_does_not_fit_is_deleted_and_the_one_before_stands(saved, first_to_fail):
    trainer, folder, sizes = saved
    trainer.state.global_step = 4
    full = full_at_the_end() if first_to_fail == "sync" else largest_file(sizes[first_to_fail] - 1)
    with pytest.raises(OSError, match=r"disk of .* is full .*same command resumes from .*checkpoint-2"):  # noqa: SIM117
        with full_disk_errors(str(folder)), full:
            trainer._save_checkpoint(trainer.model, None)
    assert checkpoint_folders(folder) == [folder / "checkpoint-2"]
    assert fault(folder / "checkpoint-2", trainer.args) is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_atomically(tmp_path / "run.json", "old")
    with pytest.raises(OSError, match="No space left"), full_at_the_end():
        write_atomically(tmp_path / "run.json", "new")
    assert os.listdir(tmp_path) == ["run.json"]
    assert (tmp_path / "run.json").read_text() == "old"


def test_other_errors_are_not_those_of_a_full_disk(tmp_path):
    assert not is_full_disk(FileNotFoundError(errno.ENOENT, "no such file"))
    assert not is_full_disk(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"), full_disk_errors(str(tmp_path)):
        raise RuntimeError("shapes differ")
