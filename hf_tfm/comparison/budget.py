"""What is equal between arms: FLOPs, tokens, parameters or seconds of training."""

import re
from dataclasses import dataclass

__all__ = ["MEASURES_OF_SIZE", "SOLVABLE", "Budget", "default_solve", "parse_budget"]

FACTORS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
UNITS = {
    "flops": "FLOPs", "tokens": "tokens", "parameters": "parameters", "seconds": "seconds", "s": "seconds", "": "FLOPs",
}  # fmt: skip
PATTERN = re.compile(r"([\d.]+(?:e\+?\d+)?)([kKMGBT]?)-?(flops|tokens|seconds|s|)", re.IGNORECASE)
# --solve: what of an arm changes until it costs what the baseline costs; steps: its length, and nothing of its sizes
SOLVABLE = ("feed_forward", "width", "depth", "steps")
# What sizes are solved for under a budget.
MEASURES_OF_SIZE = {
    "FLOPs": "flops_per_token", "tokens": "flops_per_token", "seconds": "flops_per_token", "parameters": "parameters",
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """`amount`: of training in `unit`, for every run; None: what the baseline takes with its own number of steps."""

    unit: str
    amount: float | None = None

    def __str__(self) -> str:
        if self.amount is None:
            return self.unit
        amount = f"{self.amount:,.0f}" if self.unit in ("tokens", "seconds") else f"{self.amount:.3g}"
        return f"{amount} {self.unit}"


def parse_budget(text: str) -> Budget:
    """2e13 (FLOPs), 20M-tokens, 300s, or one of the words flops, tokens and parameters. Raises ValueError."""
    if text.lower() in ("flops", "tokens", "parameters"):
        return Budget(UNITS[text.lower()])
    found = PATTERN.fullmatch(text)
    try:
        amount = float(found[1]) * FACTORS[found[2] if found[2] in FACTORS else found[2].upper()] if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or amount <= 0:
        raise ValueError(
            f"--budget {text} must be FLOPs (2e13), tokens (20M-tokens), seconds (300s), or one of the words flops, "
            "tokens and parameters, for what the baseline has."
        )
    return Budget(UNITS[found[3].lower()], amount)


def default_solve(budget: Budget) -> str:
    """FLOPs and parameters are equal by the width of the feed-forward, tokens and seconds by the number of steps."""
    return "feed_forward" if budget.unit in ("FLOPs", "parameters") else "steps"
