"""The parts of a model that costs are counted for, from the embeddings to the head."""

from typing import Any, NamedTuple

from torch import nn

from .recording import BRANCHES, stacks_of

__all__ = ["ModelPart", "parts_of"]


class ModelPart(NamedTuple):
    """`modules`: those of the part, by name in the model. `attention`: the attention of the part, None without."""

    name: str
    modules: dict[str, nn.Module]
    attention: Any = None


def parts_of(model: Any) -> list[ModelPart]:
    """The parts "embeddings", "1 attention", "1 cross-attention", "1 feed-forward", "1 norms", ..., "final norm" and
    "head", which together hold every parameter. In an encoder-decoder names begin with "source " or "target "."""
    names = {module: name for name, module in model.named_modules()}
    stacks = stacks_of(model)
    parts = []
    for stack_name, stack in stacks.items():
        prefix = f"{stack_name} " if len(stacks) > 1 else ""
        embeddings = (
            stack.embed_tokens, stack.embed_tokens_norm, stack.position, stack.embed_norm, stack.embed_projection,
            getattr(stack, "token_types", None),
        )  # fmt: skip
        parts.append(ModelPart(f"{prefix}embeddings", named(names, *embeddings)))
        for index, layer in enumerate(stack.layers):
            branches = {kind: getattr(layer, kind) for kind in BRANCHES if getattr(layer, kind) is not None}
            for kind, branch in branches.items():
                attention = branch if kind.endswith("_attn") else None
                part = ModelPart(f"{prefix}{index + 1} {BRANCHES[kind]}", named(names, branch), attention)
                parts.append(part)
            residuals = [getattr(layer, f"{kind}_residual") for kind in branches]
            # norms by themselves, too: a block calls that before a branch without its residual connection
            norms = named(names, *residuals, *(norm for residual in residuals for norm in residual.children()))
            parts.append(ModelPart(f"{prefix}{index + 1} norms", norms))
        if not isinstance(stack.norm, nn.Identity):
            parts.append(ModelPart(f"{prefix}final norm", named(names, stack.norm)))
    inside = tuple(f"{name}." for part in parts for name in part.modules)
    rest = {
        name: module
        for module, name in names.items()
        if next(module.parameters(recurse=False), None) is not None and not f"{name}.".startswith(inside)
    }
    return [*parts, ModelPart("head", rest)] if rest else parts


def named(names: dict[nn.Module, str], *modules: Any) -> dict[str, nn.Module]:
    return {names[module]: module for module in modules if module is not None}
