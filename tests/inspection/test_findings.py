"""Something true is found: an induction head by its score and by its knock-out, and the source digits that an
encoder-decoder looks at when it writes a date."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM
from hf_tfm.inspection import head_summary, knock_out, record

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


@pytest.fixture(scope="module")
def copier():
    """Three layers of one head that learned to continue repeated random tokens."""
    torch.manual_seed(0)
    model = TfmDecoderForCausalLM(TfmDecoderConfig(vocab_size=VOCAB, **SIZES, tie_word_embeddings=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 30, 1, (STEPS - step) / 100))
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = repeated_rows(generator)
        model(rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model.eval()


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
