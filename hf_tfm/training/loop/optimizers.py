"""Muon for the hidden matrices and AdamW for the rest, as one optimizer that Trainer schedules, saves and resumes.

Muon is written out here because torch.optim.Muon came with torch 2.9, the supported range starts at 2.6, and it takes
no packed experts, which are batches of matrices.

Legend: N matrices of one shape, R rows, C columns."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hf_tfm.modeling.width_scaling import learning_rate_factors

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["MuonAdamW", "hidden_matrices", "make_optimizer", "orthogonalize"]

# a x + b x^3 + c x^5 maps singular values in (0, 1] to about [0.7, 1.2] after five steps; the large a makes small
# values grow fast.
# Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices (N, R, C) with the same singular vectors and all singular values near 1 (0.7 to 1.2), by Newton-Schulz
    iteration. Computes in the precision of the input, because many CPUs emulate bfloat16, which is 40 times slower."""
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon for parameter groups with `muon=True`, AdamW for the others.

    A Muon step subtracts lr * sqrt(max(1, R/C)) times the orthogonalized Nesterov momentum; a parameter with three axes
    is a batch of matrices. Weight decay is decoupled: the weight is first multiplied by 1 - lr * weight_decay. Muon
    needs whole matrices, so sharded parameters need AdamW."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})
        self.share_with_adamw()

    def share_with_adamw(self) -> None:
        # AdamW uses the groups and the state of this optimizer, so that schedulers and checkpoints see one object.
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
        """One Muon step, with all matrices of the same shape at once."""
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
        """Update the momentum buffer, a running mean of gradients, and return its Nesterov look-ahead."""
        gradient = parameter.grad
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)  # pyright: ignore[reportArgumentType]
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, buffer, momentum)  # pyright: ignore[reportCallIssue, reportArgumentType]


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable matrices between hidden layers by name: linear layers and packed experts of the base model, without
    embeddings, heads, norms and biases."""
    base_model = getattr(model, "base_model", model)
    linear = {id(module.weight) for module in base_model.modules() if isinstance(module, nn.Linear)}
    in_base_model = {id(parameter) for parameter in base_model.parameters()}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and id(parameter) in in_base_model
        and (id(parameter) in linear or parameter.ndim == 3)
    }


def scaled_groups(
    parameters: dict[str, nn.Parameter], factors: dict[str, float], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """One group for each factor of the learning rate. Weight decay, which optimizers multiply by the rate, is divided
    by the factor, so that weights shrink as fast at every width."""
    by_factor: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        by_factor.setdefault(factors.get(name, 1.0), []).append(parameter)
    rate, decay = options["lr"], options["weight_decay"]
    return [
        {"params": group, **options, "lr": rate * factor, "weight_decay": decay / factor}
        for factor, group in (by_factor or {1.0: []}).items()
    ]


def adamw_groups(
    model: nn.Module, args: TfmTrainingArguments, parameters: dict[str, nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """The groups of AdamW for these parameters of the model."""
    betas = args.adam_beta1, args.adam_beta2
    options = {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon, "weight_decay": weight_decay}
    return scaled_groups(parameters, learning_rate_factors(model), {"muon": False, **options})


def other_parameters(model: nn.Module, hidden: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Trainable parameters that are no hidden matrices, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and name not in hidden}


def make_optimizer(model: nn.Module, args: TfmTrainingArguments) -> torch.optim.Optimizer:
    """The optimizer of --optimizer muon or adamw: hidden matrices have weight decay, the rest has none."""
    if args.optimizer == "muon":
        return make_muon(model, args)
    hidden = hidden_matrices(model)
    rest = adamw_groups(model, args, other_parameters(model, hidden), 0.0)
    return torch.optim.AdamW(rest + adamw_groups(model, args, hidden, args.weight_decay))


def check_learning_rates(model: nn.Module, args: TfmTrainingArguments) -> None:
    """Raises ValueError for a model whose weights have different learning rates and an optimizer of Trainer's."""
    if args.optimizer == "trainer" and learning_rate_factors(model):
        raise ValueError(
            "--optimizer trainer has one learning rate, and width_scaling gives the matrices of this model others; use "
            "--optimizer adamw or muon."
        )


def make_muon(model: nn.Module, args: TfmTrainingArguments) -> MuonAdamW:
    """Raises ValueError if parameters are sharded or the model has no trainable hidden matrices."""
    if args.sharded_by_accelerate:
        raise ValueError("--optimizer muon needs whole matrices, FSDP and DeepSpeed shard them; use --optimizer adamw.")
    hidden = hidden_matrices(model)
    if not hidden:
        raise ValueError("--optimizer muon: the model has no trainable hidden matrices; use --optimizer adamw.")
    muon = {"muon": True, "lr": args.muon_learning_rate, "momentum": args.muon_momentum}
    factors = learning_rate_factors(model, "muon")
    groups = scaled_groups(hidden, factors, {**muon, "weight_decay": args.weight_decay})
    return MuonAdamW(adamw_groups(model, args, other_parameters(model, hidden), 0.0) + groups)
