"""The fused loss: linear map and cross-entropy over chunks of tokens, with the gradient computed in the same pass, so
that no (tokens, vocabulary) tensor ever exists; and only tokens that are scored reach the vocabulary.

The idea is that of Liger's fused loss (Hsu et al. 2024, arXiv:2410.10989) and Cut Cross-Entropy (Wijmans et al. 2024,
arXiv:2411.09009), here in plain operations that run on any device.

Legend: B batch, T tokens, N scored tokens, n tokens of a chunk, E embedding size, V vocabulary, V' padded vocabulary.
"""

from typing import Any

import torch
from torch.nn import functional as F
from transformers.utils.import_utils import is_tracing

from .loss import IGNORE_INDEX

# Tokens of a chunk: at least so many, since each chunk reads and writes the whole weight gradient (V, E) once more,
# which the products of 512 tokens outweigh; with a small vocabulary more, up to so many logits, since threads
# synchronise in each step. GPUs need many more to be busy.
CHUNK_TOKENS, CHUNK_LOGITS = 512, {"cpu": 2**23, "cuda": 2**27}
# The vocabulary is padded to a multiple of this: a GPU multiplies three times as slowly where rows of logits do not
# begin at multiples of 16 bytes, as those of 50,257 words do not.
VOCABULARY_MULTIPLE = {"cuda": 8}


def pad_vocabulary(rows: torch.Tensor, padding: int) -> torch.Tensor:
    """(V, ...) to (V', ...), zeros below."""
    return F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, padding)) if padding else rows


def softcap_(logits: torch.Tensor, cap: float) -> torch.Tensor:
    """cap tanh(x / cap) in place; returns the slope at each logit."""
    logits.div_(cap).tanh_()
    slope = 1 - logits.square()
    logits.mul_(cap)
    return slope


def cross_entropy_(
    logits: torch.Tensor, labels: torch.Tensor, cap: float | None, smoothing: float, z_loss: float, vocab_size: int
) -> torch.Tensor:
    """The summed loss in nats of logits (n, V') in float32, which become its gradient: softmax minus target, a target
    of 1 - smoothing at the label and smoothing / V everywhere in the first V = `vocab_size` columns. `z_loss` times the
    square of logsumexp(logits) is part of the loss. Labels (n,), -100 where nothing is scored."""
    ignored = labels.eq(IGNORE_INDEX)[:, None]
    index = labels[:, None].masked_fill(ignored, 0)
    slope = None if cap is None else softcap_(logits, cap)
    logits[:, vocab_size:] = -torch.inf
    highest, expected = logits.amax(-1, keepdim=True), logits.gather(-1, index)
    if smoothing:
        expected = expected.lerp(logits[:, :vocab_size].mean(-1, keepdim=True), smoothing)
    total = logits.sub_(highest).exp_().sum(-1, keepdim=True)
    losses = total.log() - (expected - highest)
    # what is not scored has no gradient: x / inf is 0
    logits.div_(total.masked_fill(ignored, torch.inf))
    if z_loss:
        log_total = total.log() + highest
        losses = losses + z_loss * log_total.square()
        logits.mul_(1 + 2 * z_loss * log_total)
    scored = torch.ones_like(total).masked_fill(ignored, 0)
    if smoothing:
        logits[:, :vocab_size].sub_(scored * (smoothing / vocab_size))
    logits.scatter_add_(-1, index, scored * (smoothing - 1))
    if slope is not None:
        logits.mul_(slope)
    return losses.masked_fill(ignored, 0).sum()


def zeros_if(needed: bool, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    return torch.zeros_like(like, dtype=dtype) if needed else None


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy, in nats and float32, of cap(scale (x W' + b)) against labels, with the z-loss.

    x (N, E), W (V, E), b (V,) or None, labels (N,), -100 where nothing is scored. `with_gradient`: whether gradients
    are on at the call, which a context does not know. Products are computed in the dtype that autocast would choose;
    softmax, and sums over chunks, in float32. A second backward, or a second derivative, raises RuntimeError."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        cap: float | None,
        scale: float,
        smoothing: float,
        z_loss: float,
        with_gradient: bool,
    ) -> torch.Tensor:
        dtype = (hidden_states[:0] @ weight[:0].t()).dtype
        states_need, weight_needs, bias_needs = (with_gradient & need for need in ctx.needs_input_grad[:3])
        device, vocab_size = hidden_states.device.type, weight.shape[0]
        padding = -vocab_size % VOCABULARY_MULTIPLE.get(device, 1)
        # one chunk where there are no tokens; a graph holds for all lengths of one number of chunks
        max_tokens = max(CHUNK_TOKENS, CHUNK_LOGITS.get(device, CHUNK_LOGITS["cpu"]) // vocab_size)
        num_chunks = max(1, -(-hidden_states.shape[0] // max_tokens))
        size = -(-hidden_states.shape[0] // num_chunks)
        with torch.autocast(device, enabled=False):
            tokens, matrix = hidden_states.to(dtype), pad_vocabulary(weight.to(dtype), padding)
            # beta 0: what it multiplies is not read
            offset, beta = matrix[0, :1], 0.0
            if bias is not None:
                offset, beta = pad_vocabulary(bias.to(dtype), padding), scale
            states_grad = zeros_if(states_need, hidden_states, hidden_states.dtype)
            weight_grad = zeros_if(weight_needs, matrix, torch.float32)
            bias_grad = zeros_if(bias_needs, offset, torch.float32)
            loss = hidden_states.new_zeros((), dtype=torch.float32)
            for chunk in (slice(number * size, (number + 1) * size) for number in range(num_chunks)):
                part = tokens[chunk]
                # one name for logits and gradient, so that one of them lives at a time; in float32 they are one tensor
                gradient = torch.addmm(offset, part, matrix.t(), beta=beta, alpha=scale).float()
                # not in place: torch 2.11's compiler takes what begins as a constant for one, and gives no gradient
                loss = loss + cross_entropy_(gradient, labels[chunk], cap, smoothing, z_loss, vocab_size)
                if bias_grad is not None:
                    bias_grad += gradient.sum(0)
                gradient = gradient.to(dtype)
                if states_grad is not None:
                    states_grad[chunk] = gradient @ matrix
                if weight_grad is not None and dtype == torch.float32:
                    weight_grad.addmm_(gradient.t(), part)
                elif weight_grad is not None:
                    # torch multiplies and adds in one step only in one dtype
                    weight_grad.add_(gradient.t() @ part)
                del gradient
        ctx.scale, ctx.vocab_size = scale, vocab_size
        ctx.save_for_backward(labels.eq(IGNORE_INDEX).all(), states_grad, weight_grad, bias_grad)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # create_graph=True: the gradient would pass for a constant
        if torch.is_grad_enabled():
            raise RuntimeError("The fused loss has no second derivative: pass fused_loss=False for one.")
        nothing_scored, *gradients = ctx.saved_tensors
        # where nothing is scored the gradient is 0, also if the sum was divided by 0 labels
        factor = outer[0].masked_fill(nothing_scored, 0) * ctx.scale
        # in place: a second (V, E) tensor would be as large as what is saved
        states_grad, *rest = [None if gradient is None else gradient.mul_(factor) for gradient in gradients]
        of_vocabulary = (None if gradient is None else gradient[: ctx.vocab_size] for gradient in rest)
        return (states_grad, *of_vocabulary, None, None, None, None, None, None)


def select_scored(hidden_states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (N, E) and labels (N,) of the scored positions of (B, T, E) and (B, T); of all positions in a
    graph, where shapes cannot depend on values."""
    tokens, labels = hidden_states.flatten(0, -2), labels.reshape(hidden_states.shape[:-1]).flatten()
    if is_tracing(hidden_states):
        return tokens, labels
    scored = labels.ne(IGNORE_INDEX)
    return tokens[scored], labels[scored]
