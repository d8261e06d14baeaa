"""Muon for the hidden matrices and AdamW for the rest, as one optimiser that Trainer schedules, saves and resumes.

Legend: N matrices of one shape, R rows, C columns."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["OPTIMIZERS", "MuonAdamW", "hidden_matrices", "orthogonalize"]

# Odd polynomial a x + b x^3 + c x^5 with the steepest start among those that keep [0, 1] within about [0.7, 1.2].
# Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices (N, R, C) with the same singular vectors and all singular values near 1 (0.7 to 1.2).
    In the precision of the input: bfloat16 is emulated, and 40 times slower, on many processors."""
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Groups marked `muon` take Muon steps, the others AdamW steps.

    A Muon step moves a matrix by `lr` sqrt(max(1, R/C)) times the orthogonalised gradient (its running mean, looked
    ahead by one); a parameter with three axes is a batch of matrices. Weight decay is decoupled: a step first shrinks
    the weight by lr times weight_decay. Whole matrices only: parameters sharded over devices need AdamW."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})
        self.share_with_adamw()

    def share_with_adamw(self) -> None:
        # The inner optimiser works on this one's groups and state, so that schedules and checkpoints see one object.
        self.adamw = torch.optim.AdamW([group for group in self.param_groups if not group["muon"]])
        self.adamw.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.share_with_adamw()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                self.muon_step(group)
        self.adamw.step()
        return loss

    def muon_step(self, group: dict[str, Any]) -> None:
        """Muon's step, all matrices of one shape at once."""
        by_shape: dict[tuple[Any, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[(*parameter.shape, parameter.device)].append(parameter)
        for parameters in by_shape.values():
            rows, columns = parameters[0].shape[-2:]
            directions = [self.nesterov_momentum(parameter, group["momentum"]) for parameter in parameters]
            updates = orthogonalize(torch.stack(directions)).unbind()
            size = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for parameter, update in zip(parameters, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)

    def nesterov_momentum(self, parameter: nn.Parameter, momentum: float) -> torch.Tensor:
        """The running mean of gradients, updated in place, looked ahead by one step (Nesterov)."""
        gradient = parameter.grad
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)  # pyright: ignore[reportArgumentType]
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, mean, momentum)  # pyright: ignore[reportCallIssue, reportArgumentType]


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights between hidden layers, by name: linear maps and packed experts of the trunk. Not embeddings, heads, norms
    or biases."""
    trunk = getattr(model, "base_model", model)
    linear = {id(module.weight) for module in trunk.modules() if isinstance(module, nn.Linear)}
    inside = {id(parameter) for parameter in trunk.parameters()}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) in inside and (id(parameter) in linear or parameter.ndim == 3)
    }


def parameter_groups(model: nn.Module, args: TfmTrainingArguments) -> list[dict[str, Any]]:
    """All trainable parameters for AdamW, in two groups: the rest without decay, hidden matrices with it."""
    hidden = hidden_matrices(model)
    rest = [p for name, p in model.named_parameters() if p.requires_grad and name not in hidden]
    betas = args.adam_beta1, args.adam_beta2
    shared = {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}
    return [
        {"params": rest, "weight_decay": 0.0, "muon": False, **shared},
        {"params": list(hidden.values()), "weight_decay": args.weight_decay, "muon": False, **shared},
    ]


def make_adamw(model: nn.Module, args: TfmTrainingArguments) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(model, args))


def make_muon(model: nn.Module, args: TfmTrainingArguments) -> torch.optim.Optimizer:
    """Raises ValueError if parameters are sharded, or if the model has no hidden matrices."""
    if args.fsdp or args.deepspeed:
        raise ValueError("--optimizer muon needs whole matrices, FSDP and DeepSpeed shard them; use --optimizer adamw.")
    rest, hidden = parameter_groups(model, args)
    if not hidden["params"]:
        raise ValueError("--optimizer muon: the model has no trainable hidden matrices; use --optimizer adamw.")
    muon = {"muon": True, "lr": args.muon_learning_rate, "momentum": args.muon_momentum}
    return MuonAdamW([rest, {"params": hidden["params"], "weight_decay": hidden["weight_decay"], **muon}])


# Words of --optimizer; "trainer" is not among them: there the host chooses by --optim.
OPTIMIZERS: dict[str, Callable[[nn.Module, TfmTrainingArguments], torch.optim.Optimizer]] = {
    "adamw": make_adamw,
    "muon": make_muon,
}
