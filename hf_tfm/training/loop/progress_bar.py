"""The progress of a run on the screen: one bar (steps, time left, loss, tokens per second) and one line for each
evaluation."""

import time
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback

__all__ = ["ProgressBarCallback"]


class ProgressBarCallback(ProgressCallback):
    """The progress bar of transformers, which shows loss and speed itself instead of printing dictionaries."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self.start_time, self.start_tokens = time.time(), state.num_input_tokens_seen
        if self.training_bar is not None and state.global_step:
            self.training_bar.update(state.global_step)
            self.current_step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is None or not state.is_world_process_zero or not logs:
            return
        results = {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_")}
        if results:
            text = ", ".join(f"{name} {value:.4g}" for name, value in results.items() if not is_timing(name))
            tqdm.write(f"step {state.global_step}: {text}")
        elif "loss" in logs:
            tokens = state.num_input_tokens_seen - self.start_tokens
            speed = tokens / max(1e-9, time.time() - self.start_time)
            self.training_bar.set_postfix_str(f"loss {float(logs['loss']):.4f}, {speed:,.0f} tokens/s")


def is_timing(name: str) -> bool:
    return name == "runtime" or name.endswith("_per_second")
