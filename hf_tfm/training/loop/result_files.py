"""What a run measured, in <split>_results.json: whole or not at all, since the same command reads it after a kill."""

import json
from pathlib import Path
from typing import Any

from ..utils.files import write_atomically

__all__ = ["keep_training_metrics", "write_metrics"]


def write_metrics(folder: str, split: str, metrics: dict[str, Any]) -> None:
    """Write <split>_results.json as `Trainer.save_metrics` does, which a kill can leave empty."""
    write_atomically(Path(folder) / f"{split}_results.json", json.dumps(metrics, indent=4, sort_keys=True))


def keep_training_metrics(folder: str, metrics: dict[str, Any], is_trained: bool) -> dict[str, Any]:
    """The metrics of training, which are written if steps were trained. Otherwise they are of no step, and those that
    the process before wrote take their place."""
    if is_trained:
        write_metrics(folder, "train", metrics)
        return metrics
    file = Path(folder) / "train_results.json"
    without_loss = {name: value for name, value in metrics.items() if name != "train_loss"}
    return without_loss | (json.loads(file.read_text(encoding="utf-8")) if file.exists() else {})
