"""The training tasks: one class each, registered in OBJECTIVES under the value of --task.

It defines no layers, reads no files and does not run the training loop."""

from .base import Objective
from .causal_lm import CausalLM
from .chat import Chat
from .classification import SequenceClassification
from .denoising import Denoising
from .embeddings import Embeddings
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
        MultipleChoice, Chat, Embeddings,
    )
}  # fmt: skip
