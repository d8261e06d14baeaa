"""BLEU and chrF by sacrebleu, imported only where one of them is asked for."""

from itertools import zip_longest
from typing import Any

from datasets import Features, List, Value

from .base import InMemoryMetric, check_strings

__all__ = ["Chrf", "Sacrebleu"]


class TranslationMetric(InMemoryMetric):
    """Predictions are strings; references one string each or a list of them, whose lengths may differ.
    Without sacrebleu, ImportError at construction: a run fails before it trains."""

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
        """The host's score of all rows, and the signature that makes it comparable."""
        # the host reads references by column, None where a row has fewer
        score = metric.corpus_score(predictions, list(zip_longest(*references)))
        return score, str(metric.get_signature())


class Sacrebleu(TranslationMetric):
    """BLEU in percent with its parts; `tokenize` and the other options are sacrebleu's. Post 2018, arXiv:1804.08771."""

    def _compute(
        self,
        predictions: Any,
        references: Any,
        *,
        smooth_method: str = "exp",
        smooth_value: float | None = None,
        force: bool = False,
        lowercase: bool = False,
        tokenize: str | None = None,
        use_effective_order: bool = False,
    ) -> dict[str, Any]:
        from sacrebleu.metrics.bleu import BLEU

        metric = BLEU(
            lowercase=lowercase,
            force=force,
            tokenize=tokenize,
            smooth_method=smooth_method,
            smooth_value=smooth_value,
            effective_order=use_effective_order,
        )
        score, signature = self.score(metric, predictions, references)
        keys = ("score", "counts", "totals", "precisions", "bp", "sys_len", "ref_len")
        return {key: getattr(score, key) for key in keys} | {"signature": signature}


class Chrf(TranslationMetric):
    """F score of character n-grams in percent (chrF2; chrF2++ with word_order=2). Popovic 2015, WMT, W15-3049."""

    def _compute(
        self,
        predictions: Any,
        references: Any,
        *,
        char_order: int = 6,
        word_order: int = 0,
        beta: int = 2,
        lowercase: bool = False,
        whitespace: bool = False,
        eps_smoothing: bool = False,
    ) -> dict[str, Any]:
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF(
            char_order=char_order,
            word_order=word_order,
            beta=beta,
            lowercase=lowercase,
            whitespace=whitespace,
            eps_smoothing=eps_smoothing,
        )
        score, signature = self.score(metric, predictions, references)
        keys = ("score", "char_order", "word_order", "beta")
        return {key: getattr(score, key) for key in keys} | {"signature": signature}
