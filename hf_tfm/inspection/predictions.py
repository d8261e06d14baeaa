"""Which of a head's predictions an inspection shows and explains, and what their labels are called.

Legend: T tokens, n predictions, V labels, k most probable labels.
"""

from dataclasses import dataclass
from typing import Any

import torch

from .lens import log_probabilities, logit_lens
from .predicting_heads import AnswerSpan, Head, LanguageModelHead, SequenceClassifier, TokenClassifier
from .recording import Recording, stacked, to_array
from .report import Lens, Prediction
from .text_inputs import TextInputs, token_texts

__all__ = ["Predictions"]

TOP = 10
# predictions that get an attribution where no position is asked for
MOST_EXPLAINED = 16


@dataclass
class Predictions:
    """`rows`: predictions of the head that are shown, in the order of the head."""

    recording: Recording
    head: Head
    tokenizer: Any
    texts: TextInputs
    position: int | None = None

    def __post_init__(self) -> None:
        self.logits = self.head.logits_of(self.recording.output)[0]  # (n, V)
        self.count = len(self.logits)
        self.ids = self.recording.predicting.ids.tolist()  # pyright: ignore[reportOptionalMemberAccess]
        self.problem = getattr(self.recording.model.config, "problem_type", None)
        self.is_distribution = not isinstance(self.head, SequenceClassifier) or (
            self.problem not in ("regression", "multi_label_classification") and self.logits.shape[-1] > 1
        )
        self.masks = self.masked_positions()
        self.known_names: dict[int, str] = {}
        if self.position is not None:
            self.check_position()
        self.rows = self.masks or list(range(self.count))
        if self.position is not None and self.per_token:
            self.rows = sorted({*self.rows, self.position})

    @property
    def per_token(self) -> bool:
        return isinstance(self.head, LanguageModelHead | TokenClassifier)

    def masked_positions(self) -> list[int]:
        """Where the mask token stands in the text of a masked language model."""
        mask = getattr(self.tokenizer, "mask_token_id", None)
        is_masked = isinstance(self.head, LanguageModelHead) and self.recording.model.config.model_type == "tfm_encoder"
        return [i for i, index in enumerate(self.ids) if is_masked and index == mask]

    def check_position(self) -> None:
        position: Any = self.position
        if not self.per_token:
            raise ValueError(
                f"A {type(self.recording.model).__name__} has one answer for the whole text; leave position out."
            )
        if not -self.count <= position < self.count:
            raise ValueError(f"position={position} must lie between 0 and {self.count - 1}, or count from the end.")
        self.position = position % self.count

    def explained(self) -> list[int]:
        """The predictions that are attributed, the one for knock-outs and gradients first."""
        if self.position is not None:
            return [self.position]
        if isinstance(self.head, LanguageModelHead) and self.recording.model.config.model_type == "tfm_decoder":
            return [self.count - 1]
        if self.masks or not self.per_token or self.recording.model.config.is_encoder_decoder:
            return self.rows[:MOST_EXPLAINED]
        middle = self.count // 2
        return [middle, *(row for row in self.rows if row != middle)][:MOST_EXPLAINED]

    def label_id(self, row: int, target: str | None) -> int:
        """The label to explain: the most probable one, or the target. Raises ValueError for an unknown target."""
        # the target of an encoder-decoder is what its decoder reads
        is_text = isinstance(self.head, LanguageModelHead) and self.recording.model.config.is_encoder_decoder
        if target is None or is_text:
            return int(self.logits[row].argmax())
        if isinstance(self.head, LanguageModelHead):
            ids = self.tokenizer(target, add_special_tokens=False)["input_ids"]
            if not ids:
                raise ValueError(f"target={target!r} holds no token.")
            return int(ids[0])
        names = {name: index for index, name in self.class_names().items()}
        if target not in names:
            raise ValueError(f"target={target!r} must be one of: {', '.join(names)}.")
        return names[target]

    def class_names(self) -> dict[int, str]:
        if isinstance(self.head, AnswerSpan):
            return dict(enumerate(self.numbered_tokens()))
        return {index: str(name) for index, name in self.recording.model.config.id2label.items()}

    def numbered_tokens(self) -> list[str]:
        # a decoder that reads the shifted source marks a token of the source at the token's own place
        shifted = "target" in self.recording.stacks and "decoder_input_ids" not in self.recording.inputs
        ids = self.recording.inputs["input_ids"][0].tolist() if shifted else self.ids
        return [f"{text} ({number})" for number, text in enumerate(token_texts(self.tokenizer, ids), 1)]

    def names(self, labels: list[int]) -> list[str]:
        """What labels are called."""
        if isinstance(self.head, LanguageModelHead):
            new = sorted({*labels} - self.known_names.keys())
            self.known_names |= dict(zip(new, token_texts(self.tokenizer, new), strict=True))
            return [self.known_names[label] for label in labels]
        names = self.class_names()
        return [names.get(label, f"label {label}") for label in labels]

    def name_of(self, row: int, label: int) -> str:
        """The same for one label; a span says which of its ends."""
        name = self.names([label])[0]
        return f"{('start', 'end')[row]}: {name}" if isinstance(self.head, AnswerSpan) else name

    def position_of(self, row: int) -> int | None:
        return row if self.per_token else None

    def question(self) -> str:
        if isinstance(self.head, AnswerSpan):
            return "Where does the answer start, and where does it end?"
        if isinstance(self.head, TokenClassifier):
            return "Which class has each token?"
        if isinstance(self.head, SequenceClassifier):
            plural = self.problem == "multi_label_classification"
            return "Which number?" if self.problem == "regression" else f"Which class{'es' * plural}?"
        if self.masks:
            return "Which word stands at the mask?"
        is_encoder = self.recording.model.config.model_type == "tfm_encoder"
        return "Which token stands at each place?" if is_encoder else "Which token comes next?"

    def prediction(self) -> Prediction:
        logits = self.logits[self.rows]
        best = logits.topk(min(TOP, logits.shape[-1]))
        probabilities = log_probabilities(logits).exp()
        if not self.is_distribution:
            independent = self.problem == "multi_label_classification" or None
            probabilities = logits.float().sigmoid() if independent else torch.full_like(logits, torch.nan)
        known = self.texts.actual
        actual: list[str | None] = [None] * len(self.rows)
        if known is not None:
            following = [known[row] for row in self.rows]
            names = iter(self.names([index for index in following if index is not None]))
            # what stands under a mask is not known
            actual = [None if index is None or self.masks else next(names) for index in following]
        return Prediction(
            self.question(),
            [self.position_of(row) for row in self.rows],
            [self.names(row) for row in best.indices.tolist()],
            to_array(probabilities.gather(-1, best.indices)),
            to_array(best.values),
            actual,
        )

    def lens(self) -> Lens:
        taps, gap = logit_lens(self.recording, self.rows, TOP)
        return Lens(
            [tap.tap for tap in taps],
            [[self.names(row) for row in tap.labels.tolist()] for tap in taps],
            stacked([tap.probabilities for tap in taps]),
            stacked([tap.entropy for tap in taps]),
            stacked([tap.divergence for tap in taps]),
            gap,
        )
