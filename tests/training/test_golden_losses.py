"""Training does what it did before: the losses of 50 steps of six recipes, in float32 on fixed tokens, equal those
written here, so that no change of a default, an initialisation or an equation stays unnoticed.

Where a change is meant, write the new losses with: python -m tests.training.test_golden_losses"""

import json
from pathlib import Path

import pytest
import torch

from hf_tfm import (
    TfmDecoderConfig,
    TfmDecoderForCausalLM,
    TfmEncoderConfig,
    TfmEncoderForMaskedLM,
    TfmSeq2SeqConfig,
    TfmSeq2SeqForConditionalGeneration,
)
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.optimizers import make_optimizer

FILE = Path(__file__).with_suffix(".json")
# Training steps, and those whose losses are kept: the first, the middle and the last.
STEPS, KEPT = 50, (0, 24, 49)
# Dropout is off: its random numbers differ between processors.
NO_DROPOUT = dict.fromkeys(("hidden_dropout", "attention_dropout", "embedding_dropout", "activation_dropout"), 0.0)
SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 24, "pad_token_id": 0, **NO_DROPOUT,
}  # fmt: skip
EXPERTS = {"mlp_type": "moe", "num_experts": 4, "num_experts_per_tok": 2}
# name -> configuration class, model class, recipe, and fields of its own; two per architecture
RECIPES = {
    "encoder bert": (TfmEncoderConfig, TfmEncoderForMaskedLM, "bert", {}),
    "encoder original": (TfmEncoderConfig, TfmEncoderForMaskedLM, "original", {}),
    "decoder llama, grouped keys": (TfmDecoderConfig, TfmDecoderForCausalLM, "llama", {"num_key_value_heads": 2}),
    "decoder llama, experts": (TfmDecoderConfig, TfmDecoderForCausalLM, "llama", EXPERTS),
    "encoder-decoder t5": (TfmSeq2SeqConfig, TfmSeq2SeqForConditionalGeneration, "t5", {}),
    "encoder-decoder bart": (TfmSeq2SeqConfig, TfmSeq2SeqForConditionalGeneration, "bart", {}),
}
ROWS, LENGTH, MASK = 16, 24, 1
# Half the learning rates of train.py: with all of it, T5 amplifies rounding to 3e-3 in 50 steps.
RATES = {"learning_rate": 1e-3, "muon_learning_rate": 0.01}
# Relative: more than ten times the differences between AVX-512 and AVX2, one thread and two, with and without oneDNN,
# at most 1.5e-7 in all six. A norm_eps ten times larger moves the losses by 9e-6 (BERT) to 6e-4 (Llama).
TOLERANCE = 2e-6


def batch(step, model):
    """Rows of 9 to 24 tokens that count upwards in steps of their own, padded on the right."""
    row = torch.arange(ROWS)[:, None] + ROWS * step
    position = torch.arange(LENGTH)
    tokens = 2 + (7 * row + (1 + row % 5) * position) % (SIZES["vocab_size"] - 2)
    mask = (position < LENGTH - 5 * (row % 4)).long()
    inputs = {"input_ids": tokens * mask, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}
    if isinstance(model, TfmEncoderForMaskedLM):
        hidden = ((position + row) % 4 == 0) & (mask == 1)
        inputs["input_ids"] = inputs["input_ids"].masked_fill(hidden, MASK)
        inputs["labels"] = inputs["labels"].masked_fill(~hidden, -100)
    return inputs


def train(name):
    """Losses of all steps, in nats per label, with the optimizers of train.py."""
    config_class, model_class, recipe, fields = RECIPES[name]
    torch.manual_seed(0)
    model = model_class(config_class.recipe(recipe, **SIZES, **fields)).train()
    optimizer = make_optimizer(model, TfmTrainingArguments(use_cpu=True, **RATES))
    losses = []
    for step in range(STEPS):
        loss = model(**batch(step, model), fused_loss=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_those_of_before(name):
    losses = train(name)
    assert [losses[step] for step in KEPT] == pytest.approx(json.loads(FILE.read_text())[name], rel=TOLERANCE)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: [train(name)[step] for step in KEPT] for name in RECIPES}, indent=1) + "\n")
