"""The lean loss: linear map and cross-entropy over chunks of tokens, with the gradient taken in the same pass, so that
no (tokens, vocabulary) tensor ever exists; and only tokens that are scored reach the vocabulary.

The idea is that of Liger's fused loss (Hsu et al. 2024, arXiv:2410.10989) and Cut Cross-Entropy (Wijmans et al. 2024,
arXiv:2411.09009), here in plain operations that run on any device.

Legend: B batch, T tokens, N scored tokens, n tokens of a chunk, C hidden size, E embedding size, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss
from transformers.utils.import_utils import is_tracing

from .loss import IGNORE_INDEX

# Tokens of a chunk: at least so many, since each chunk reads and writes the whole weight gradient (V, E) once more,
# which the products of 512 tokens outweigh; with few words more, up to so many logits, since threads meet in each step.
# GPUs take many more to be busy.
TOKENS, LOGITS = 512, {"cpu": 2**23, "cuda": 2**27}


class NoCap:
    """Logits as they are."""

    def bend(self, logits: torch.Tensor) -> Any:
        """Cap the logits in place; returns the slope at each."""

    def unbend(self, gradient: torch.Tensor, slope: Any) -> None:
        """From the gradient of capped logits to that of the logits, in place."""


class Cap(NoCap):
    """cap tanh(x / cap), as `SoftCap`, in place."""

    def __init__(self, cap: float) -> None:
        self.cap = cap

    def bend(self, logits: torch.Tensor) -> Any:
        logits.div_(self.cap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(self.cap)
        return slope

    def unbend(self, gradient: torch.Tensor, slope: Any) -> None:
        gradient.mul_(slope)


def make_cap(cap: float | None) -> NoCap:
    return NoCap() if cap is None else Cap(cap)


class Words:
    """The vocabulary's V rows as they are."""

    def widen(self, rows: torch.Tensor) -> torch.Tensor:
        """(V, ...) to (V', ...)."""
        return rows

    def narrow(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """(V', ...) to the first `count`, V."""
        return rows

    def hide(self, logits: torch.Tensor, count: int) -> None:
        """Leave no probability to what comes after the first `count` columns, V of V'."""


class AlignedWords(Words):
    """V rounded up to a multiple of `ALIGNED`; rows that this adds are zeros. A GPU multiplies three times as slowly
    where rows of logits do not begin at multiples of 16 bytes, as those of 50257 words do not."""

    def widen(self, rows: torch.Tensor) -> torch.Tensor:
        return F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, -len(rows) % ALIGNED))

    def narrow(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        return rows[:count]

    def hide(self, logits: torch.Tensor, count: int) -> None:
        logits[:, count:] = -torch.inf


ALIGNED = 8
# kind of device and V modulo `ALIGNED` -> how it takes the vocabulary; others as it is
WORDS = dict.fromkeys((("cuda", rest) for rest in range(1, ALIGNED)), AlignedWords())


def cross_entropy_(
    logits: torch.Tensor, labels: torch.Tensor, cap: NoCap, smoothing: float, words: Words, count: int
) -> torch.Tensor:
    """The summed loss in nats of logits (n, V') in float32, which become its gradient: softmax less target, a target of
    1 - smoothing at the label and smoothing / V everywhere in the first `count` columns, V. Labels (n,), -100 where
    nothing is scored."""
    ignored = labels.eq(IGNORE_INDEX)[:, None]
    index = labels[:, None].masked_fill(ignored, 0)
    slope = cap.bend(logits)
    words.hide(logits, count)
    highest, expected = logits.amax(-1, keepdim=True), logits.gather(-1, index)
    if smoothing:
        expected = expected.lerp(logits[:, :count].mean(-1, keepdim=True), smoothing)
    total = logits.sub_(highest).exp_().sum(-1, keepdim=True)
    losses = total.log() - (expected - highest)
    # what is not scored has no gradient: x / inf is 0
    logits.div_(total.masked_fill(ignored, torch.inf))
    share = torch.ones_like(total).masked_fill(ignored, 0)
    if smoothing:
        logits[:, :count].sub_(share * (smoothing / count))
    logits.scatter_add_(-1, index, share * (smoothing - 1))
    cap.unbend(logits, slope)
    return losses.masked_fill(ignored, 0).sum()


def add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    total.add_(left @ right)


# dtype of a product -> how it is added to a float32 sum; torch multiplies and adds in one step only in one dtype
SUMS: dict[torch.dtype, Callable[..., Any]] = {torch.float32: torch.Tensor.addmm_}


def zeros_if(needed: bool, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    return torch.zeros_like(like, dtype=dtype) if needed else None


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy, in nats and float32, of cap(scale (x W' + b)) against labels.

    x (N, E), W (V, E), b (V,) or None, labels (N,), -100 where nothing is scored. `wanted`: whether gradients are on
    where it is called, which a context does not know. Products are taken in the dtype that autocast would choose;
    softmax, and sums over chunks, in float32. A second backward, or a second derivative, raises RuntimeError."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        cap: NoCap,
        scale: float,
        smoothing: float,
        wanted: bool,
    ) -> torch.Tensor:
        dtype = (hidden_states[:0] @ weight[:0].t()).dtype
        states_need, weight_needs, bias_needs = (wanted & need for need in ctx.needs_input_grad[:3])
        # one chunk where there are no tokens; a graph holds for all lengths of one count
        device, known = hidden_states.device.type, weight.shape[0]
        words, most = WORDS.get((device, known % ALIGNED), Words()), LOGITS.get(device, LOGITS["cpu"])
        count = max(1, -(-hidden_states.shape[0] // max(TOKENS, most // known)))
        size = -(-hidden_states.shape[0] // count)
        with torch.autocast(device, enabled=False):
            tokens, matrix = hidden_states.to(dtype), words.widen(weight.to(dtype))
            # beta 0: what it multiplies is not read
            offset, beta = (matrix[0, :1], 0.0) if bias is None else (words.widen(bias.to(dtype)), scale)
            of_states = zeros_if(states_need, hidden_states, hidden_states.dtype)
            of_weight = zeros_if(weight_needs, matrix, torch.float32)
            of_bias = zeros_if(bias_needs, offset, torch.float32)
            loss = hidden_states.new_zeros((), dtype=torch.float32)
            for here in (slice(number * size, (number + 1) * size) for number in range(count)):
                part = tokens[here]
                # one name for logits and gradient, so that one of them lives at a time; in float32 they are one tensor
                gradient = torch.addmm(offset, part, matrix.t(), beta=beta, alpha=scale).float()
                # not in place: torch 2.11's compiler takes what begins as a constant for one, and gives no gradient
                loss = loss + cross_entropy_(gradient, labels[here], cap, smoothing, words, known)
                if of_bias is not None:
                    of_bias += gradient.sum(0)
                gradient = gradient.to(dtype)
                if of_states is not None:
                    of_states[here] = gradient @ matrix
                if of_weight is not None:
                    SUMS.get(dtype, add_product)(of_weight, gradient.t(), part)
                del gradient
        ctx.scale, ctx.words, ctx.known = scale, words, known
        ctx.save_for_backward(labels.eq(IGNORE_INDEX).all(), of_states, of_weight, of_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # create_graph=True: the gradient would pass for a constant
        if torch.is_grad_enabled():
            raise RuntimeError("The lean loss has no second derivative: pass lean_loss=False for one.")
        nothing, *gradients = ctx.saved_tensors
        # where nothing is scored the gradient is 0, also if the sum was divided by 0 labels
        factor = outer[0].masked_fill(nothing, 0) * ctx.scale
        # in place: a second (V, E) tensor would be as large as what is saved
        of_states, *rest = [gradient if gradient is None else gradient.mul_(factor) for gradient in gradients]
        of_words = (gradient if gradient is None else ctx.words.narrow(gradient, ctx.known) for gradient in rest)
        return (of_states, *of_words, None, None, None, None, None)


class WordHead(nn.Linear):
    """The map from the embedding's width to the vocabulary. Given labels (N,), it returns their summed loss instead of
    logits, in its own forward, since weights that lie in parts are whole only there (FSDP2, ZeRO-3)."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        cap: Any = None,
        scale: float = 1.0,
        smoothing: float = 0.0,
    ) -> torch.Tensor:
        if labels is None:
            return super().forward(hidden_states)
        wanted = torch.is_grad_enabled()
        return LinearCrossEntropy.apply(hidden_states, self.weight, self.bias, labels, cap, scale, smoothing, wanted)  # pyright: ignore[reportReturnType]


def next_labels(labels: torch.Tensor, shift_labels: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
    """The label of each position (B, T) of a causal model: the next position's, or the given `shift_labels`."""
    return F.pad(labels, (0, 1), value=IGNORE_INDEX)[..., 1:] if shift_labels is None else shift_labels


def own_labels(labels: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    return labels


# the host's loss -> the label that it scores each position by
LABELS: dict[Any, Callable[..., torch.Tensor]] = {ForCausalLMLoss: next_labels, ForMaskedLMLoss: own_labels}


def scored_tokens(hidden_states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (N, C) and labels (N,) of the scored positions of (B, T, C) and (B, T); of all positions in a
    graph, where shapes do not follow from values."""
    tokens, labels = hidden_states.flatten(0, -2), labels.reshape(hidden_states.shape[:-1]).flatten()
    if is_tracing(hidden_states):
        return tokens, labels
    scored = labels.ne(IGNORE_INDEX)
    return tokens[scored], labels[scored]


def lean_obstacle(model: Any) -> str | None:
    """Why the loss of this language head cannot be lean now; None if it can."""
    kind = type(model.lm_head)
    obstacles = {
        f"lm_head is a {kind.__module__}.{kind.__name__}, an adapter or a quantised map, say, which it would pass "
        "over": not issubclass(kind, WordHead),
        f"tp_size={model.tp_size} splits the vocabulary over processes": model.tp_size not in (None, 1),
        "the model was given a loss function of its own": model.loss_function not in LABELS,
        f"{type(model).__name__} has its own way to logits, `predict`": model.own_predict,
    }
    return next((reason for reason, stands in obstacles.items() if stands), None)
