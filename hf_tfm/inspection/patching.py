"""What changes between two texts: the stream of one put into the other, tap by tap and token by token.

Meng et al. 2022, arXiv:2202.05262. Legend: P taps, T tokens, C hidden size.
"""

import numpy as np
import torch

from .interventions import patch_hooks
from .model_state import hooks, inspected
from .recording import Recording
from .report import Patching
from .reruns import batches, logits_of_copies

__all__ = ["patch_grid"]


def patch_grid(recording: Recording, other: Recording, prediction: int, label: int, other_label: int) -> Patching:
    """The part (P, T) of the change from one text to the other that the stream at one tap and token brings over. What
    changes is the logit of `label` minus that of `other_label`, the answers to the two texts (the logit of `label`
    alone, where they are the same).

    The first stack is patched: the source of an encoder-decoder. Raises ValueError for texts of different lengths, and
    where the two texts give the same logits."""
    name, stack = next(iter(recording.stacks.items()))
    taps, streams = stack.taps, other.stacks[name].stream
    length, other_length = len(stack.embeddings), len(streams[0])
    if length != other_length:
        raise ValueError(
            f"The texts have {length} and {other_length} tokens; patching puts tokens in each other's place, so choose "
            "a text with the same number."
        )
    with inspected(recording.model):

        def difference(run: Recording, copies: int) -> torch.Tensor:
            logits = logits_of_copies(run, copies, prediction).double()
            return logits[:, label] - logits[:, other_label] * (label != other_label)

        before, after = difference(recording, 1).item(), difference(other, 1).item()
        if before == after:
            raise ValueError("The two texts give the same logits; choose texts with different answers.")
        recovered = np.zeros((len(taps), length))
        for row, (tap, states) in enumerate(zip(taps, streams, strict=True)):
            for some in batches(list(range(length)), recording):
                chosen = torch.zeros(len(some), length, dtype=torch.bool)
                chosen[range(len(some)), some] = True
                with hooks(**patch_hooks(recording.model, tap, states, chosen, name)):
                    patched = difference(recording, len(some)).cpu().numpy()
                recovered[row, some] = (patched - before) / (after - before)
    return Patching("", name, taps, recovered, str(label))
