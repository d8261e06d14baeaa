"""What the two processes do. Every function runs in both; a failed assertion in either fails the test."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from transformers import set_seed
from transformers.distributed.utils import gather_full_state_dict

from .world import SIZE, batch, load

TOLERANCE = 1e-5
STEPS = 4


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def close(found: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    gap = (whole(found) - whole(wanted)).abs().max().item()
    assert gap < TOLERANCE * (1 + whole(wanted).abs().max().item()), f"{what} differs by {gap:.1e}"


def split_equals_whole(folder: Path, names: list[str]) -> None:
    """Tensor parallel: logits, loss, every gradient and greedy text as in one process, with halves of the weights."""
    for name in names:
        alone, spread = load(name, folder), load(name, folder, tp_size=SIZE)
        assert spread.tp_size == SIZE
        halves = [weight for key, weight in spread.named_parameters() if key.endswith("self_attn.q_proj.weight")]
        assert halves
        assert all(w.to_local().numel() * SIZE == w.numel() for w in halves), f"{name}: q_proj is not split"
        inputs = batch(name)
        wanted, found = alone.train()(**inputs), spread.train()(**inputs)
        close(found.logits, wanted.logits, f"{name}: logits")
        close(found.loss, wanted.loss, f"{name}: loss")
        wanted.loss.backward()
        found.loss.backward()
        gradients = {key: p.grad for key, p in alone.named_parameters()}
        for key, weight in spread.named_parameters():
            assert weight.grad is not None, f"{name}: {key} has no gradient"
            close(weight.grad, gradients[key], f"{name}: gradient of {key}")
        if alone.can_generate():
            prompt = {key: inputs[key] for key in ("input_ids", "attention_mask")}
            settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
            texts = [model.eval().generate(**prompt, **settings) for model in (spread, alone)]
            assert torch.equal(*texts), f"{name}: greedy text differs"


def train(model: Any, inputs: dict[str, torch.Tensor]) -> list[float]:
    """The losses of a few steps of Adam, every second one lean. The optimiser is made before the first forward, as
    FSDP2 wants it."""
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    losses = []
    for step in range(STEPS):
        loss = model(**inputs, fused_loss=step % 2 == 1).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def sharded_trains_as_whole(folder: Path, names: list[str]) -> None:
    """FSDP2: the losses and weights of one process after some steps; what was saved is left in `folder`/trained."""
    for name in names:
        alone, spread = load(name, folder), load(name, folder, fsdp_size=SIZE)
        wrapped = [type(module).__name__ for module in spread.modules() if type(module).__name__.startswith("FSDP")]
        blocks = sum(type(module).__name__ == "TfmBlock" for module in alone.modules())
        assert wrapped.count("FSDPTfmBlock") == blocks, f"{name}: {wrapped}"
        set_seed(0)
        wanted = train(alone, batch(name))
        set_seed(0)
        found = train(spread, batch(name))
        assert max(abs(a - b) for a, b in zip(wanted, found, strict=True)) < TOLERANCE, f"{name}: {wanted} {found}"
        weights = gather_full_state_dict(spread)
        if dist.get_rank() == 0:
            for key, weight in alone.state_dict().items():
                close(weights[key], weight, f"{name}: {key} after training")
        spread.save_pretrained(folder / "trained" / name, is_main_process=dist.get_rank() == 0)
        dist.barrier()


def staged_equals_whole(folder: Path, names: list[str]) -> None:
    """Pipeline: logits and greedy text of one process, each process holding some of the blocks."""
    for name in names:
        alone, spread = load(name, folder).eval(), load(name, folder, pp_size=SIZE).eval()
        held = sum(type(layer).__name__ == "TfmBlock" for layer in spread.model.layers)
        assert 0 < held < len(alone.model.layers), f"{name}: {held} blocks in a stage"
        inputs = {key: value for key, value in batch(name).items() if key != "labels"}
        with torch.no_grad():
            close(spread(**inputs).logits, alone(**inputs).logits, f"{name}: logits")
        settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
        texts = [model.generate(**inputs, **settings, use_cache=False) for model in (spread, alone)]
        assert torch.equal(*texts), f"{name}: greedy text differs"
        with pytest.raises(ValueError, match="use_cache=False"):
            spread.generate(**inputs, **settings)


def refusals(folder: Path) -> None:
    """What cannot be split is refused by name, in every process."""
    for name, distributed, word in (
        ("untied_learned_post", {"pp_size": SIZE}, "position_type='learned'"),
        ("factorised", {"pp_size": SIZE}, "sinusoidal"),
        ("encoder", {"pp_size": SIZE}, "TfmEncoderForMaskedLM"),
        ("one_key_value_head", {"tp_size": SIZE}, "num_key_value_heads"),
        ("odd_vocabulary", {"fsdp_size": SIZE}, "pad_to_multiple_of=2"),
    ):
        with pytest.raises(ValueError, match=re.escape(word)):
            load(name, folder, **distributed)
    with pytest.raises(ValueError, match="tp_size=2 splits the vocabulary"):
        load("plain", folder, tp_size=SIZE)(**batch("plain"), fused_loss=True)
