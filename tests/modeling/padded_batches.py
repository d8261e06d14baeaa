"""Padded batches for tests of unpadding."""

import torch

from tests.grid import ids

LENGTHS = (3, 9, 3, 6)  # attention takes the two sequences of equal length as a batch
LEFT, RIGHT = torch.zeros(4, 9, dtype=torch.long), torch.zeros(4, 9, dtype=torch.long)
for number, length in enumerate(LENGTHS):
    LEFT[number, -length:] = RIGHT[number, :length] = 1
MIXED = torch.cat((LEFT[:2], RIGHT[2:]))


def batch(architecture, mask, **more):
    """A padded batch with labels at real tokens; the encoder-decoder's target is padded too."""
    tokens = ids(*mask.shape).masked_fill(mask == 0, 0)
    targets = ids(*RIGHT.shape, seed=2)
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if architecture == "seq2seq":
        inputs |= {"decoder_input_ids": targets.masked_fill(RIGHT == 0, 0), "decoder_attention_mask": RIGHT}
        return inputs | {"labels": targets.masked_fill(RIGHT == 0, -100)} | more, RIGHT
    # padding or nothing comes before the first token of a row, so its label is ignored
    first = mask.cumsum(-1) == 1
    return inputs | {"labels": tokens.masked_fill((mask == 0) | first, -100)} | more, mask
