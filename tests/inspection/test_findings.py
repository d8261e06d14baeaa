"""Something true is found: an induction head by its score and by its knock-out, and the source digits that an
encoder-decoder looks at when it writes a date.

`python -m tests.inspection.test_findings FOLDER` saves the model with the induction head, for `hf-tfm inspect`."""

import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM, TfmSeq2SeqConfig, TfmSeq2SeqForConditionalGeneration
from hf_tfm.inspection import head_summary, knock_out, record
from hf_tfm.training.builtin_data.date_pairs import date_pairs
from tests.inspection.tiny import make_tokenizer

VOCAB, HALF = 64, 20
STEPS, BATCH, LENGTH = 500, 32, 48
LAYERS = 3
SIZES = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 1, "intermediate_size": 64}


def repeated_rows(generator: torch.Generator) -> torch.Tensor:
    """Rows (B, T) of 6 to 24 random tokens over and over: what is right follows the same token before."""
    rows = []
    for _ in range(BATCH):
        period = int(torch.randint(6, 25, (), generator=generator))
        part = torch.randint(VOCAB, (period,), generator=generator)
        rows.append(part.repeat(LENGTH // period + 1)[:LENGTH])
    return torch.stack(rows)


def train_copier(steps: int = STEPS):
    """Three layers of one head that learned to continue repeated random tokens."""
    torch.manual_seed(0)
    model = TfmDecoderForCausalLM(TfmDecoderConfig(vocab_size=VOCAB, **SIZES, tie_word_embeddings=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 30, 1, (steps - step) / 100))
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = repeated_rows(generator)
        model(rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def copier():
    return train_copier()


@torch.no_grad()
def repeated_loss(model) -> float:
    """Nats per token on the second half of rows of random tokens that are repeated once; 4.16 by chance."""
    half = torch.randint(VOCAB, (16, HALF), generator=torch.Generator().manual_seed(1))
    rows = half.repeat(1, 2)
    logits = model(rows).logits[:, HALF - 1 : -1]
    return float(cross_entropy(logits.transpose(1, 2), rows[:, HALF:]))


def test_an_induction_head_is_found_by_its_score_and_its_knock_out(copier):
    """It looks at what followed the same token before (Olsson et al. 2022, arXiv:2209.11895), for which a head before
    it looks at the previous token. Without it, repeated text is as unknown as any; another head is not missed."""
    tokens = torch.randint(VOCAB, (1, HALF), generator=torch.Generator().manual_seed(2)).repeat(1, 2)
    [found] = head_summary(record(copier, {"input_ids": tokens})[0])
    induction, previous = found.scores["induction"][:, 0], found.scores["previous token"][:, 0]
    layer = int(induction.argmax())
    others = [other for other in range(LAYERS) if other != layer]
    assert layer == found.random_induction[:, 0].argmax() > previous.argmax()
    assert induction[layer] > max(0.3, *(4 * induction[other] for other in others)), induction
    whole, without = repeated_loss(copier), []
    for number in range(LAYERS):
        with knock_out(copier, layer=number, heads=[0]):
            without.append(repeated_loss(copier))
    rise = [loss - whole for loss in without]
    assert whole < 3, whole
    assert rise[layer] > 0.8, rise
    assert rise[layer] > 4 * min(rise), rise
    assert repeated_loss(copier) == whole


# Dates of the built-in pairs with slashes: "09/01/2004 (mm/dd/yyyy)" -> "2004-09-01"
DATES = [pair for pair in date_pairs() if "/" in pair["source"]]
CHARACTERS = sorted({char for pair in DATES for text in pair.values() for char in text})
START, END, FIRST = 0, 1, 2


def character_ids(text: str) -> list[int]:
    return [*(FIRST + CHARACTERS.index(char) for char in text), END]


def source_places(source: str) -> list[int]:
    """Where each digit of the target, YYYYMMDD, stands in the source."""
    day, month = ([0, 1], [3, 4]) if "(dd" in source else ([3, 4], [0, 1])
    return [6, 7, 8, 9, *month, *day]


def followed(model, pair: dict[str, str]) -> list[float]:
    """How much of its attention each digit of the target gives to the same digit of the source. A digit is predicted
    from the token before it."""
    target = character_ids(pair["target"])
    inputs = {"input_ids": [character_ids(pair["source"])], "decoder_input_ids": [[START, *target[:-1]]]}
    recording = record(model, {name: torch.tensor(ids) for name, ids in inputs.items()})[0]
    [call] = recording.stacks["target"].attentions_of("cross")
    digits = [place for place, char in enumerate(pair["target"]) if char.isdigit()]
    return [
        float(call.weights[0, digit, place]) for digit, place in zip(digits, source_places(pair["source"]), strict=True)
    ]


def test_cross_attention_follows_the_digits_of_the_source():
    """The task of `train.py --task seq2seq` with one token for each character, in a model of one layer and one head."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "position_type": "learned"}
    tokens = {"pad_token_id": START, "decoder_start_token_id": START, "eos_token_id": END}
    config = TfmSeq2SeqConfig(vocab_size=FIRST + len(CHARACTERS), max_position_embeddings=32, **sizes, **tokens)
    model = TfmSeq2SeqForConditionalGeneration(config)
    before = np.mean([followed(model, pair) for pair in DATES[-16:]])
    sources, targets = (torch.tensor([character_ids(pair[name]) for pair in DATES]) for name in ("source", "target"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        rows = torch.randint(len(DATES) - 16, (32,), generator=generator)
        model(sources[rows], labels=targets[rows]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = np.mean([followed(model.eval(), pair) for pair in DATES[-16:]], axis=0)
    assert before < 0.1
    assert after.mean() > 0.4, after


if __name__ == "__main__":
    train_copier(steps=1500).save_pretrained(sys.argv[1])
    # a word for each token
    make_tokenizer(vocab_size=VOCAB).save_pretrained(sys.argv[1])
