"""Checks of the text pipelines, in place of the host's larger ones: the shape of the answers, and single == batched."""

import math
from typing import Any

import torch
from transformers import pipeline

TEXTS = ["This is a test", "And this is another one, a longer one"]


class TextPipelineTests:
    """Blank: `task` and `check` of one answer."""

    task: str
    settings: dict[str, Any] = {}

    def get_test_pipeline(self, model: Any, tokenizer: Any, dtype: str = "float32", **processors: Any) -> Any:
        more = {**self.settings, **processors}
        return pipeline(self.task, model=model, tokenizer=tokenizer, dtype=getattr(torch, dtype), **more), TEXTS

    def run_pipeline_test(self, made: Any, examples: list[str]) -> None:
        singles = [made(text) for text in examples]
        for answer in singles:
            self.check(made, answer)
        batched = made(examples, batch_size=len(examples))
        assert len(batched) == len(examples)
        for single, together in zip(singles, batched, strict=True):
            same(single, together)

    def check(self, made: Any, answer: Any) -> None:
        raise NotImplementedError


def leaves(answer: Any) -> list[Any]:
    """The words and numbers of an answer, in order."""
    if isinstance(answer, dict):
        answer = [answer[key] for key in sorted(answer)]
    return [leaf for part in answer for leaf in leaves(part)] if isinstance(answer, list) else [answer]


def same(one: Any, other: Any) -> None:
    """Equal words, nearly equal numbers. What a batch adds at the end is the padding of the shorter row."""
    for a, b in zip(leaves(one), leaves(other), strict=False):
        assert a == b if isinstance(a, str) else math.isclose(float(a), float(b), rel_tol=1e-2, abs_tol=1e-2)


class FeatureExtraction(TextPipelineTests):
    task = "feature-extraction"

    def get_test_pipeline(self, model: Any, *parts: Any, **more: Any) -> Any:
        # which of the two stacks' features are meant is not defined, as in the host's own test
        return (None, None) if model.config.is_encoder_decoder else super().get_test_pipeline(model, *parts, **more)

    def check(self, made: Any, answer: Any) -> None:
        assert torch.tensor(answer).shape[-1] == made.model.config.hidden_size


class FillMask(TextPipelineTests):
    task = "fill-mask"

    def get_test_pipeline(self, *parts: Any, **settings: Any) -> Any:
        made, _ = super().get_test_pipeline(*parts, **settings)
        return made, [f"This is {made.tokenizer.mask_token}", f"{made.tokenizer.mask_token} is a longer one"]

    def check(self, made: Any, answer: Any) -> None:
        assert len(answer) == 5
        assert all(set(a) == {"score", "token", "token_str", "sequence"} and 0 <= a["score"] <= 1 for a in answer)


class TextClassification(TextPipelineTests):
    task = "text-classification"

    def check(self, made: Any, answer: Any) -> None:
        assert [set(a) for a in answer] == [{"label", "score"}]
        assert answer[0]["label"] in made.model.config.id2label.values()


class TextGeneration(TextPipelineTests):
    task = "text-generation"
    settings = {"max_new_tokens": 5, "do_sample": False}

    def check(self, made: Any, answer: Any) -> None:
        assert [set(a) for a in answer] == [{"generated_text"}]
        assert any(answer[0]["generated_text"].startswith(text) for text in TEXTS)


class TokenClassification(TextPipelineTests):
    task = "token-classification"

    def check(self, made: Any, answer: Any) -> None:
        assert all({"entity", "score", "index", "word", "start", "end"} <= set(a) for a in answer)


class ZeroShot(TextPipelineTests):
    task = "zero-shot-classification"
    settings = {"candidate_labels": ["politics", "health"]}

    def check(self, made: Any, answer: Any) -> None:
        assert sorted(answer["labels"]) == ["health", "politics"]
        assert math.isclose(sum(answer["scores"]), 1.0, abs_tol=1e-2)


CHECKS = {
    "feature-extraction": FeatureExtraction,
    "fill-mask": FillMask,
    "text-classification": TextClassification,
    "text-generation": TextGeneration,
    "token-classification": TokenClassification,
    "zero-shot": ZeroShot,
}
