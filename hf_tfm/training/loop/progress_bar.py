"""What a person sees of a run: one line that moves (steps, time left, tokens per second, loss) and one line for each
evaluation."""

import time
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback

__all__ = ["ProgressBarCallback"]


class ProgressBarCallback(ProgressCallback):
    """The host's bar; numbers that it prints as dictionaries stand beside it, and evaluations in one line each."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        self.began, self.before = time.time(), state.num_input_tokens_seen
        if self.training_bar is not None and state.global_step:
            self.training_bar.update(state.global_step)
            self.current_step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self.training_bar is None or not state.is_world_process_zero or not logs:
            return
        measured = {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_")}
        if measured:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.items() if not is_timing(name))
            tqdm.write(f"step {state.global_step}: {shown}")
        elif "loss" in logs:
            tokens = (state.num_input_tokens_seen - self.before) / max(1e-9, time.time() - self.began)
            self.training_bar.set_postfix_str(f"loss {float(logs['loss']):.4f}, {tokens:,.0f} tokens/s")


def is_timing(name: str) -> bool:
    return name == "runtime" or name.endswith("_per_second")
