"""The head of a model as a function of the last hidden states, through the model's own code: what the logit lens
applies to other states, and what an attribution differentiates.

Legend: B batch, T tokens of the stack that the head reads, n predictions, C hidden size, V labels.
"""

from typing import Any

import torch
from torch import nn

from ..modeling.attention import soft_cap
from ..modeling.head_parts import HeadDense, LanguageHead
from ..modeling.seq2seq_heads import Seq2SeqClassification, Seq2SeqQuestionAnswering
from ..modeling.task_heads import QuestionAnswering, SequenceClassification, TokenClassification

__all__ = ["Head", "head_of", "require_head"]


class Head:
    """Base. `inputs`: keyword arguments of the model for one row. `scale`, `cap`: what `finish` does to `scores`."""

    scale: float = 1.0
    cap: float | None = None

    def __init__(self, model: Any, inputs: dict[str, Any]) -> None:
        self.model, self.inputs = model, inputs

    def parts(self) -> list[nn.Module | None]:
        """The modules before the last linear map."""
        raise NotImplementedError

    @property
    def is_linear(self) -> bool:
        """Whether `scores` are an affine function of the hidden states."""
        modules = [module for part in self.parts() if part is not None for module in part.modules()]
        return not any(isinstance(module, HeadDense) for module in modules)

    def scores(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (B, n, V) of last hidden states (B, T, C), before scale and cap."""
        raise NotImplementedError

    def finish(self, scores: torch.Tensor) -> torch.Tensor:
        """The model's logits from `scores`."""
        return scores

    def logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The model's logits (B, n, V) for last hidden states (B, T, C)."""
        return self.finish(self.scores(hidden_states))

    def scores_at(self, hidden_states: torch.Tensor, prediction: int) -> torch.Tensor:
        """The scores of one prediction (B, V)."""
        return self.scores(hidden_states)[:, prediction]

    def logits_at(self, hidden_states: torch.Tensor, prediction: int) -> torch.Tensor:
        """The logits of one prediction (B, V)."""
        return self.finish(self.scores_at(hidden_states, prediction))

    def logits_of(self, output: Any) -> torch.Tensor:
        """The model's logits (B, n, V) in its output."""
        return output.logits


class TokenWiseHead(Head):
    """One prediction per token, from its hidden state alone."""

    def scores_at(self, hidden_states: torch.Tensor, prediction: int) -> torch.Tensor:
        return self.scores(hidden_states[:, [prediction]])[:, 0]


class LanguageModelHead(TokenWiseHead):
    """One prediction per token, over the vocabulary."""

    def __init__(self, model: Any, inputs: dict[str, Any]) -> None:
        super().__init__(model, inputs)
        self.scale, self.cap = model.logit_scale, model.logit_cap

    def parts(self) -> list[nn.Module | None]:
        return [self.model.lm_transform]

    def scores(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.model.lm_head(self.model.transform(hidden_states))

    def finish(self, scores: torch.Tensor) -> torch.Tensor:
        scores = scores if self.model.scale_logits is None else self.model.scale_logits(scores)
        return scores if self.cap is None else soft_cap(scores, self.cap)

    def logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.model.compute_logits(hidden_states)


class TokenClassifier(TokenWiseHead):
    """One prediction per token, over the classes."""

    def parts(self) -> list[nn.Module | None]:
        return [self.model.transform]

    def scores(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.model.classifier(self.model.dropout(self.model.transform_tokens(hidden_states)))


class AnswerSpan(Head):
    """Two predictions, where the answer starts and where it ends, over the tokens."""

    def parts(self) -> list[nn.Module | None]:
        return [self.model.transform]

    def scores(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.model.qa_outputs(self.model.transform_tokens(hidden_states)).transpose(1, 2)

    def logits_of(self, output: Any) -> torch.Tensor:
        return torch.stack((output.start_logits, output.end_logits), dim=1)


class SequenceClassifier(Head):
    """One prediction for the sequence, over the classes."""

    @property
    def pooler(self) -> Any:
        # an encoder pools in the model below the head
        return self.model.pooler if hasattr(self.model, "pooler") else self.model.model.pooler

    def parts(self) -> list[nn.Module | None]:
        return [self.pooler]

    def scores(self, hidden_states: torch.Tensor) -> torch.Tensor:
        rows = len(hidden_states)
        ids = self.inputs.get("decoder_input_ids", self.inputs["input_ids"])
        pooled = self.pooler(hidden_states, ids.expand(rows, -1), torch.ones_like(ids).expand(rows, -1))
        return self.model.classifier(self.model.dropout(pooled)).unsqueeze(1)

    def logits_of(self, output: Any) -> torch.Tensor:
        return output.logits.unsqueeze(1)


# mixin of the models that have a head -> that head
HEADS: dict[type, type[Head]] = {
    LanguageHead: LanguageModelHead,
    TokenClassification: TokenClassifier,
    QuestionAnswering: AnswerSpan,
    Seq2SeqQuestionAnswering: AnswerSpan,
    SequenceClassification: SequenceClassifier,
    Seq2SeqClassification: SequenceClassifier,
}


def head_of(model: Any, inputs: dict[str, Any]) -> Head | None:
    """The head of a model for the inputs of one row; None for a model without one that predicts labels."""
    kind = next((head for mixin, head in HEADS.items() if isinstance(model, mixin)), None)
    return None if kind is None else kind(model, inputs)


def require_head(model: Any, inputs: dict[str, Any]) -> Head:
    """The same. Raises ValueError for a model without such a head."""
    head = head_of(model, inputs)
    if head is None:
        raise ValueError(f"A {type(model).__name__} predicts no labels; inspect a model with a head that does.")
    return head
