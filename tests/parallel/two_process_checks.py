"""Checks that run in each of two processes; a failed assertion in either process fails the test."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from transformers import set_seed
from transformers.distributed.utils import gather_full_state_dict

from hf_tfm.modeling.position import POSITIONS
from tests.modeling.test_extension_recipes import Kerple

from .process_group import WORLD_SIZE, batch, load

TOLERANCE = 1e-5
STEPS = 4


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def assert_close(found: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    gap = (full_tensor(found) - full_tensor(wanted)).abs().max().item()
    assert gap < TOLERANCE * (1 + full_tensor(wanted).abs().max().item()), f"{what} differs by {gap:.1e}"


def check_tensor_parallel(folder: Path, names: list[str]) -> None:
    """With half of the weights per process, logits, loss, all gradients and greedy text equal those of one process."""
    for name in names:
        single, distributed = load(name, folder), load(name, folder, tp_size=WORLD_SIZE)
        assert distributed.tp_size == WORLD_SIZE
        queries = [weight for key, weight in distributed.named_parameters() if key.endswith("self_attn.q_proj.weight")]
        assert queries
        assert all(w.to_local().numel() * WORLD_SIZE == w.numel() for w in queries), f"{name}: q_proj is not split"
        inputs = batch(name)
        wanted, found = single.train()(**inputs), distributed.train()(**inputs)
        assert_close(found.logits, wanted.logits, f"{name}: logits")
        assert_close(found.loss, wanted.loss, f"{name}: loss")
        wanted.loss.backward()
        found.loss.backward()
        gradients = {key: p.grad for key, p in single.named_parameters()}
        for key, weight in distributed.named_parameters():
            assert weight.grad is not None, f"{name}: {key} has no gradient"
            assert_close(weight.grad, gradients[key], f"{name}: gradient of {key}")
        if single.can_generate():
            prompt = {key: inputs[key] for key in ("input_ids", "attention_mask")}
            settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
            texts = [model.eval().generate(**prompt, **settings) for model in (distributed, single)]
            assert torch.equal(*texts), f"{name}: greedy text differs"


def check_new_score_bias(folder: Path, name: str) -> None:
    """Tensor parallel with a position that is in no plan of the package: its parameters are its own."""
    POSITIONS["new"] = Kerple
    check_tensor_parallel(folder, [name])


def train_steps(model: Any, inputs: dict[str, torch.Tensor]) -> list[float]:
    """The losses of a few steps of Adam, every second one with the fused loss. FSDP2 requires that the optimizer is
    made before the first forward."""
    optimizer = torch.optim.Adam(model.train().parameters(), lr=1e-2)
    losses = []
    for step in range(STEPS):
        loss = model(**inputs, fused_loss=step % 2 == 1).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def check_fsdp_training(folder: Path, names: list[str]) -> None:
    """Losses and weights after some steps equal those of one process. Saves the trained models in `folder`/trained."""
    for name in names:
        single, distributed = load(name, folder), load(name, folder, fsdp_size=WORLD_SIZE)
        wrapped = [
            type(module).__name__ for module in distributed.modules() if type(module).__name__.startswith("FSDP")
        ]
        blocks = sum(type(module).__name__ == "TfmBlock" for module in single.modules())
        assert wrapped.count("FSDPTfmBlock") == blocks, f"{name}: {wrapped}"
        set_seed(0)
        wanted = train_steps(single, batch(name))
        set_seed(0)
        found = train_steps(distributed, batch(name))
        assert max(abs(a - b) for a, b in zip(wanted, found, strict=True)) < TOLERANCE, f"{name}: {wanted} {found}"
        weights = gather_full_state_dict(distributed)
        if dist.get_rank() == 0:
            for key, weight in single.state_dict().items():
                assert_close(weights[key], weight, f"{name}: {key} after training")
        distributed.save_pretrained(folder / "trained" / name, is_main_process=dist.get_rank() == 0)
        dist.barrier()


def check_pipeline(folder: Path, names: list[str]) -> None:
    """With some of the blocks per process, logits and greedy text equal those of one process."""
    for name in names:
        single, distributed = load(name, folder).eval(), load(name, folder, pp_size=WORLD_SIZE).eval()
        held = sum(type(layer).__name__ == "TfmBlock" for layer in distributed.model.layers)
        assert 0 < held < len(single.model.layers), f"{name}: {held} blocks in a stage"
        inputs = {key: value for key, value in batch(name).items() if key != "labels"}
        with torch.no_grad():
            assert_close(distributed(**inputs).logits, single(**inputs).logits, f"{name}: logits")
        settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
        texts = [model.generate(**inputs, **settings, use_cache=False) for model in (distributed, single)]
        assert torch.equal(*texts), f"{name}: greedy text differs"
        with pytest.raises(ValueError, match="use_cache=False"):
            distributed.generate(**inputs, **settings)


def check_unsupported_models(folder: Path) -> None:
    """A model that cannot be split raises an error that names the reason, in both processes."""
    for name, settings, reason in (
        ("untied_learned_post", {"pp_size": WORLD_SIZE}, "position_type='learned'"),
        ("factorised", {"pp_size": WORLD_SIZE}, "sinusoidal"),
        ("encoder", {"pp_size": WORLD_SIZE}, "TfmEncoderForMaskedLM"),
        ("one_key_value_head", {"tp_size": WORLD_SIZE}, "num_key_value_heads"),
        ("odd_vocabulary", {"fsdp_size": WORLD_SIZE}, "pad_to_multiple_of=2"),
    ):
        with pytest.raises(ValueError, match=re.escape(reason)):
            load(name, folder, **settings)
    with pytest.raises(ValueError, match="tp_size=2 splits the vocabulary"):
        load("plain", folder, tp_size=WORLD_SIZE)(**batch("plain"), fused_loss=True)
