"""Ctrl-C and SIGTERM end a run so that the same command resumes it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ..utils.printing import print_on_main_process
from .checkpoints import last_saved
from .stopping import skip_end_of_epoch, stop_after_step

__all__ = ["SignalCallback", "end_on_signal"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunInterrupted(BaseException):
    """A signal ended the run. It is no Exception, so that nothing handles it as an error."""


class SignalCallback(TrainerCallback):
    """The first signal in training stops the run after the current step, which is saved as a checkpoint, in all
    processes; at any other time it stops the run at once. The second one ends the process as if nothing handled it.

    transformers' --enable_jit_checkpoint is not used: it waits for three seconds, knows SIGTERM only, saves between two
    accumulated batches, from where no run resumes bitwise, and the script then goes on as after complete training."""

    def __init__(self) -> None:
        self.signal, self.is_training, self.process = 0, False, os.getpid()

    def handle(self, number: int, frame: Any) -> None:
        if os.getpid() != self.process:
            # a process that loads data: the terminal sends Ctrl-C to it too, and the current step needs it
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.signal = number
        for other in SIGNALS:
            signal.signal(other, signal.SIG_DFL)
        if not self.is_training:
            raise RunInterrupted
        print_on_main_process(
            f"{signal.Signals(number).name}: the run ends after this step; a second signal ends it at once"
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.is_training = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.world_size > 1:
            # every process stops after the same step; the larger number of a signal wins
            number = torch.tensor(self.signal, device=args.device)
            torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MAX)
            self.signal = int(number)
        if self.signal:
            stop_after_step(args, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.signal:
            skip_end_of_epoch(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.is_training = False
        if self.signal:
            raise RunInterrupted


@contextmanager
def end_on_signal(output_dir: str | None) -> Iterator[SignalCallback]:
    """A callback for the trainer that handles signals in this block. If one ends the run, prints how it goes on, and
    exits with 128 + the number of the signal."""
    callback = SignalCallback()
    # only the main thread may handle signals
    handled = SIGNALS if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, callback.handle) for number in handled}
    try:
        yield callback
    except BaseException as error:
        # processes that load data may have died of the same signal, which is an error here
        if not callback.signal or isinstance(error, SystemExit):
            raise
        last = last_saved(Path(str(output_dir)))
        goes_on = f"resumes from {last}" if last else "starts again: there is no checkpoint yet"
        name = signal.Signals(callback.signal).name
        print_on_main_process(f"The run was ended by {name}. The same command {goes_on}")
        sys.exit(128 + callback.signal)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
