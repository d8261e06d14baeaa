"""Our model types in PEFT's tables: adapters need no `target_modules`, also where a checkpoint brings its own code."""

import sys
from typing import Any

MODEL_TYPES = ("tfm_encoder", "tfm_decoder", "tfm_seq2seq")
# without the stack's, which a post-norm wiring lacks
NORMS = ["pre_norm", "branch_norm", "post_norm"]


def register_model_types_in_peft() -> None:
    """Enter our model types in each of PEFT's tables that has Llama, whose projections have the same names; norms have
    names of their own. Does nothing where PEFT is not imported, which is none of the packages that the code needs."""
    constants = sys.modules.get("peft.utils.constants")
    for name, table in vars(constants).items() if constants else ():
        if isinstance(table, dict) and "llama" in table:
            targets = NORMS if "LNTUNING" in name else table["llama"]
            for model_type in MODEL_TYPES:
                table.setdefault(model_type, targets)


class PeftTargets:
    """Mixin of the configurations. PEFT reads the model type from `config.to_dict()`, and then its tables; it may be
    imported after the model was made."""

    def to_dict(self) -> dict[str, Any]:
        register_model_types_in_peft()
        return super().to_dict()  # pyright: ignore[reportAttributeAccessIssue]
