"""Checks of the text pipelines: the form of their output, and that batched and single calls agree. It replaces
transformers' larger modules."""

import math
from typing import Any

import torch
from transformers import pipeline

TEXTS = ["This is a test", "And this is another one, a longer one"]


class TextPipelineTests:
    """Subclasses set `task` and define `check` for one output."""

    task: str
    settings: dict[str, Any] = {}

    def get_test_pipeline(self, model: Any, tokenizer: Any, dtype: str = "float32", **processors: Any) -> Any:
        more = {**self.settings, **processors}
        return pipeline(self.task, model=model, tokenizer=tokenizer, dtype=getattr(torch, dtype), **more), TEXTS

    def run_pipeline_test(self, pipe: Any, examples: list[str]) -> None:
        singles = [pipe(text) for text in examples]
        for output in singles:
            self.check(pipe, output)
        batched = pipe(examples, batch_size=len(examples))
        assert len(batched) == len(examples)
        for single, together in zip(singles, batched, strict=True):
            assert_same_output(single, together)

    def check(self, pipe: Any, output: Any) -> None:
        raise NotImplementedError


def leaves(output: Any) -> list[Any]:
    """The strings and numbers of an output, in order."""
    if isinstance(output, dict):
        output = [output[key] for key in sorted(output)]
    return [leaf for part in output for leaf in leaves(part)] if isinstance(output, list) else [output]


def assert_same_output(one: Any, other: Any) -> None:
    """Strings are equal and numbers close. The output of a batch may be longer: it holds the padding of shorter rows,
    which is not compared."""
    for a, b in zip(leaves(one), leaves(other), strict=False):
        assert a == b if isinstance(a, str) else math.isclose(float(a), float(b), rel_tol=1e-2, abs_tol=1e-2)


class FeatureExtraction(TextPipelineTests):
    task = "feature-extraction"

    def get_test_pipeline(self, model: Any, *parts: Any, **more: Any) -> Any:
        # an encoder-decoder has no defined features: transformers' own test skips it too
        return (None, None) if model.config.is_encoder_decoder else super().get_test_pipeline(model, *parts, **more)

    def check(self, pipe: Any, output: Any) -> None:
        assert torch.tensor(output).shape[-1] == pipe.model.config.hidden_size


class FillMask(TextPipelineTests):
    task = "fill-mask"

    def get_test_pipeline(self, *parts: Any, **settings: Any) -> Any:
        pipe, _ = super().get_test_pipeline(*parts, **settings)
        return pipe, [f"This is {pipe.tokenizer.mask_token}", f"{pipe.tokenizer.mask_token} is a longer one"]

    def check(self, pipe: Any, output: Any) -> None:
        assert len(output) == 5
        assert all(set(a) == {"score", "token", "token_str", "sequence"} and 0 <= a["score"] <= 1 for a in output)


class TextClassification(TextPipelineTests):
    task = "text-classification"

    def check(self, pipe: Any, output: Any) -> None:
        assert [set(a) for a in output] == [{"label", "score"}]
        assert output[0]["label"] in pipe.model.config.id2label.values()


class TextGeneration(TextPipelineTests):
    task = "text-generation"
    settings = {"max_new_tokens": 5, "do_sample": False}

    def check(self, pipe: Any, output: Any) -> None:
        assert [set(a) for a in output] == [{"generated_text"}]
        assert any(output[0]["generated_text"].startswith(text) for text in TEXTS)


class TokenClassification(TextPipelineTests):
    task = "token-classification"

    def check(self, pipe: Any, output: Any) -> None:
        assert all({"entity", "score", "index", "word", "start", "end"} <= set(a) for a in output)


class ZeroShot(TextPipelineTests):
    task = "zero-shot-classification"
    settings = {"candidate_labels": ["politics", "health"]}

    def check(self, pipe: Any, output: Any) -> None:
        assert sorted(output["labels"]) == ["health", "politics"]
        assert math.isclose(sum(output["scores"]), 1.0, abs_tol=1e-2)


CHECKS = {
    "feature-extraction": FeatureExtraction,
    "fill-mask": FillMask,
    "text-classification": TextClassification,
    "text-generation": TextGeneration,
    "token-classification": TokenClassification,
    "zero-shot": ZeroShot,
}
