"""Checks of what the model computes: losses of parts of a batch, generation with a cache, and padding."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from .checkpoint import ROWS, Broken, Checkpoint, NotApplicable, close

__all__ = ["check_accumulation", "check_cache", "check_padding"]

NEW_TOKENS, IGNORED = 6, -100
LANGUAGE = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM")


def check_accumulation(checkpoint: Checkpoint) -> str:
    """The gradient of a batch is that of its parts, as Trainer adds them up."""
    labels = labels_of(checkpoint)
    accepts = accepts_loss_kwargs(checkpoint.model)
    counted = {"num_items_in_batch": (labels != IGNORED).sum()} if accepts else {}
    halves = [slice(0, ROWS // 2), slice(ROWS // 2, ROWS)]
    whole = gradient(checkpoint, slice(None), labels)
    parts = [gradient(checkpoint, rows, labels, **counted) for rows in halves]
    gap = close(torch.stack(parts).sum(0) / (1 if accepts else len(parts)), whole)
    if gap is not None:
        reason = "takes num_items_in_batch and ignores it" if accepts else "does not take num_items_in_batch"
        raise Broken(
            f"gradient accumulation changes the gradient by {gap:.1e} of the largest: forward {reason}; pass **kwargs "
            "on to self.loss_function, which divides by it, or train with gradient_accumulation_steps=1."
        )
    return "two parts add up"


def labels_of(checkpoint: Checkpoint) -> Tensor:
    """Labels, in the parts unequally many. Raises NotApplicable for a head for which Trainer counts none."""
    ids, auto_class = checkpoint.ids, checkpoint.auto_class
    if auto_class in LANGUAGE:
        labels = ids.clone()
        # the first one has no prediction in a causal model
        labels[:, 0] = labels[0, 2:] = labels[1, 4:] = IGNORED
        return labels
    classes = 2 if "MultipleChoice" in auto_class else getattr(checkpoint.model.config, "num_labels", 2)
    if auto_class == "AutoModelForTokenClassification":
        labels = ids % classes
        labels[0, 2:] = IGNORED
        return labels
    if auto_class in ("AutoModelForSequenceClassification", "AutoModelForMultipleChoice"):
        return ids[:, 0] % classes
    raise NotApplicable(f"Trainer counts no labels of a model that {auto_class} opens")


def gradient(checkpoint: Checkpoint, rows: slice, labels: Tensor, **counted: Any) -> Tensor:
    """The gradient of the loss for the input embeddings, (vocabulary, hidden size)."""
    inputs = checkpoint.batch(checkpoint.ids[rows])
    # made from the labels
    inputs.pop("decoder_input_ids", None)
    outputs = checkpoint.model(**inputs, labels=labels[rows], **counted, return_dict=True)
    if outputs.get("aux_loss") is not None:
        raise NotApplicable("experts add a loss of each part")
    if outputs.get("loss") is None:
        raise Broken("labels give no loss; let forward return it.")
    return torch.autograd.grad(outputs["loss"], checkpoint.model.get_input_embeddings().weight)[0]


def accepts_loss_kwargs(model: Any) -> bool:
    """As Trainer decides."""
    parameters = inspect.signature(model.forward).parameters.values()
    default = any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    return getattr(model, "accepts_loss_kwargs", default)


def check_cache(checkpoint: Checkpoint) -> str:
    """Generation with a cache gives the logits of generation without."""
    check_generates(checkpoint)
    cached, full = (generate(checkpoint, use_cache=use_cache) for use_cache in (True, False))
    if cached.past_key_values is None:
        raise NotApplicable("it returns no cache: each token costs a pass over all before it")
    gap = largest_gap(cached, full)
    if gap is not None:
        raise Broken(
            f"logits with a cache differ by {gap:.1e} of the largest: positions or masks of later tokens are "
            "wrong; count positions from past_key_values.get_seq_length(), and make masks by create_causal_mask."
        )
    return f"{NEW_TOKENS} tokens"


def check_padding(checkpoint: Checkpoint) -> str:
    """A padded row gives what it gives alone: padded on the left for generation, else on the right."""
    shorter = checkpoint.ids.shape[1] * 2 // 3
    alone = checkpoint.ended(checkpoint.ids[:1, :shorter])
    fill = torch.full((1, checkpoint.ids.shape[1] - shorter), checkpoint.pad_token_id)
    model: Any = checkpoint.model
    generates = model.can_generate()
    left = generates and not model.config.is_encoder_decoder
    side, parts = ("left", [fill, alone]) if left else ("right", [alone, fill])
    padded = torch.cat([torch.cat(parts, 1), checkpoint.ids[1:2]])
    ones, zeros = torch.ones_like(alone), torch.zeros_like(fill)
    mask = torch.cat([torch.cat([zeros, ones] if left else [ones, zeros], 1), torch.ones_like(padded[1:])])
    if generates:
        gap = largest_gap(generate(checkpoint, padded, mask), generate(checkpoint, alone))
    else:
        gap = padded_forward_gap(checkpoint, padded, mask, alone)
    if gap is not None:
        raise Broken(
            f"padding on the {side} changes what a row gives by {gap:.1e} of the largest output; pass attention_mask "
            "to every layer (and count positions from it in prepare_inputs_for_generation)."
        )
    return f"on the {side}"


def padded_forward_gap(checkpoint: Checkpoint, padded: Tensor, mask: Tensor, alone: Tensor) -> float | None:
    """The largest difference of a row's outputs, padded on the right and alone."""
    expected = checkpoint.main_output(**checkpoint.batch(alone))
    found = checkpoint.main_output(**checkpoint.batch(padded, mask))[:1]
    # outputs of tokens, not of the row
    if found.dim() > 1 and found.shape[1] == padded.shape[-1] and expected.shape[1] == alone.shape[-1]:
        found = found[:, : alone.shape[-1]]
    return close(found, expected)


def check_generates(checkpoint: Checkpoint) -> None:
    if not checkpoint.model.can_generate():
        raise NotApplicable("it does not generate, and has no cache")


@torch.no_grad()
def generate(
    checkpoint: Checkpoint, ids: Tensor | None = None, mask: Tensor | None = None, use_cache: bool = True
) -> Any:
    """Greedy generation with the logits of each step."""
    ids = checkpoint.ids[:2] if ids is None else ids
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        num_beams=1,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=checkpoint.pad_token_id,
    )
    mask = torch.ones_like(ids) if mask is None else mask
    return checkpoint.model.generate(ids, attention_mask=mask, generation_config=config)


def largest_gap(found: Any, expected: Any) -> float | None:
    """The first difference between the logits of two generations, of the rows of the second, until their tokens
    differ."""
    rows = len(expected.sequences)
    for step, (one, other) in enumerate(zip(found.logits, expected.logits, strict=True)):
        gap = close(one[:rows], other)
        if gap is not None:
            return gap
        at = step - NEW_TOKENS
        if not torch.equal(found.sequences[:rows, at], expected.sequences[:, at]):
            return None
    return None
