"""Metrics by name: the package's own work offline; "hub:NAME" downloads a metric script from the Hub."""

from pathlib import Path
from typing import Any

import evaluate

from .classification import F1, Accuracy, MatthewsCorrelation, Precision, Recall
from .correlation import Pearsonr, Spearmanr
from .exact_match import ExactMatch
from .seqeval import Seqeval
from .squad import Squad, SquadV2
from .translation import Chrf, Sacrebleu

__all__ = ["METRICS", "load_metric"]

HUB_PREFIX = "hub:"
# All of these take predictions and references. Perplexity is not listed because it takes summed losses.
METRICS: dict[str, type[evaluate.Metric]] = {
    "accuracy": Accuracy,
    "chrf": Chrf,
    "exact_match": ExactMatch,
    "f1": F1,
    "matthews_correlation": MatthewsCorrelation,
    "pearsonr": Pearsonr,
    "precision": Precision,
    "recall": Recall,
    "sacrebleu": Sacrebleu,
    "seqeval": Seqeval,
    "spearmanr": Spearmanr,
    "squad": Squad,
    "squad_v2": SquadV2,
}


def load_metric(name: str, cache_dir: str | Path) -> evaluate.Metric:
    """The metric of that name, with its rows in memory and its temporary files in `cache_dir`.

    "hub:NAME" passes NAME (a Hub name, or a path to a script) to `evaluate.load`, which downloads and runs the script.
    Raises ValueError for an unknown name, and ImportError if sacrebleu is needed and missing."""
    if name.startswith(HUB_PREFIX):
        metric: Any = evaluate.load(name.removeprefix(HUB_PREFIX), keep_in_memory=True, cache_dir=str(cache_dir))
        return metric
    if name not in METRICS:
        raise ValueError(
            f'Unknown metric "{name}"; the package has {", ".join(METRICS)}. '
            f'"{HUB_PREFIX}{name}" would download and run the script of that name from the Hugging Face Hub.'
        )
    return METRICS[name](cache_dir=str(cache_dir))
