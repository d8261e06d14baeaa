"""BLEU and chrF by sacrebleu, which is imported only if one of them is used."""

from itertools import zip_longest
from typing import Any

from datasets import Features, List, Value

from .base import InMemoryMetric, check_strings

__all__ = ["Chrf", "Sacrebleu"]


class TranslationMetric(InMemoryMetric):
    """Predictions are strings; each reference is a string or a list of strings, of any length.
    Raises ImportError at construction if sacrebleu is missing, so that a run fails before it trains."""

    inputs = Features({"predictions": Value("string"), "references": List(Value("string"))})

    def __init__(self, cache_dir: Any) -> None:
        try:
            import sacrebleu  # noqa: F401
        except ImportError as error:
            name = type(self).__name__.lower()
            raise ImportError(f'{name} needs sacrebleu: pip install "hf_tfm[train]"') from error
        super().__init__(cache_dir)

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        references = []
        for number, row in enumerate(batch["references"]):
            texts = check_strings([row] if isinstance(row, str) else row, f"{self.name}: references of row {number}")
            if not texts:
                raise ValueError(f"{self.name}: row {number} has no reference.")
            references.append(texts)
        return {
            "predictions": check_strings(batch["predictions"], f"{self.name}: predictions"),
            "references": references,
        }

    @staticmethod
    def score(metric: Any, predictions: list[str], references: list[list[str]]) -> tuple[Any, str]:
        """sacrebleu's score of all rows, and its signature, which names the settings."""
        # sacrebleu reads references by column, with None where a row has fewer.
        score = metric.corpus_score(predictions, list(zip_longest(*references)))
        return score, str(metric.get_signature())


class Sacrebleu(TranslationMetric):
    """BLEU in percent with its parts; options are those of sacrebleu's BLEU. Post 2018, arXiv:1804.08771."""

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        from sacrebleu.metrics.bleu import BLEU

        score, signature = self.score(BLEU(**options), predictions, references)
        keys = ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
        return {key: getattr(score, key) for key in keys} | {"signature": signature}


class Chrf(TranslationMetric):
    """F score of character n-grams in percent (chrF2; chrF2++ with word_order=2); options are those of sacrebleu's
    CHRF. Popovic 2015, WMT, W15-3049."""

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        from sacrebleu.metrics.chrf import CHRF

        score, signature = self.score(CHRF(**options), predictions, references)
        keys = ("score", "char_order", "word_order", "beta")
        return {key: getattr(score, key) for key in keys} | {"signature": signature}
