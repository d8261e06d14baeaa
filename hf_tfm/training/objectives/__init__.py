"""What a model can be trained to do, by task word: one class and one line each."""

from .base import Objective
from .causal_lm import CausalLM
from .chat import Chat
from .classification import SequenceClassification
from .denoising import Denoising
from .masked_lm import MaskedLM
from .multiple_choice import MultipleChoice
from .question_answering import QuestionAnswering
from .seq2seq import Seq2Seq
from .token_classification import TokenClassification

__all__ = ["OBJECTIVES", "Objective"]

OBJECTIVES: dict[str, type[Objective]] = {
    objective.task: objective
    for objective in (
        CausalLM, MaskedLM, Denoising, Seq2Seq, SequenceClassification, TokenClassification, QuestionAnswering,
        MultipleChoice, Chat,
    )
}  # fmt: skip
