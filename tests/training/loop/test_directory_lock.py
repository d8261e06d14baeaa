"""One process uses an output directory; a killed one leaves it free."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest

from hf_tfm.training.loop.directory_lock import LOCK_FILE, DirectoryLock

pytest.importorskip("fcntl")


def hold(folder, ready):
    """Lock a folder, as does a run that has forked a process for its data."""
    lock = DirectoryLock(folder)
    lock.acquire()
    child = os.fork()
    if child:
        ready.send(child)
    time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    child = ours.recv()
    yield process
    for number in (process.pid, child):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.join()


def test_a_second_process_is_refused_until_the_first_ends_however_it_ends(tmp_path, holder):
    lock = DirectoryLock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"in use by another train.py .process {holder.pid} on"):
        lock.acquire()
    holder.kill()
    holder.join()
    # its child lives on
    lock.acquire()
    lock.release()
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_lock_whose_file_was_deleted_is_none(tmp_path):
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.path.unlink()
    assert not lock.is_in_place()
    lock.acquire()
    assert lock.is_in_place()
    lock.release()


def test_a_file_system_without_locks_is_used_unlocked(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.lockf", unsupported)
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()
    monkeypatch.setattr("hf_tfm.training.loop.directory_lock.fcntl", None)
    lock.acquire()
    lock.release()
