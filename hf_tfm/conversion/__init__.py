"""Converts models of native Hugging Face families to ours and back, with equal outputs.

"Native" is a model class of transformers, "ours" one of hf_tfm. A family is one weight map and one mapping of
configuration fields, each read in both directions. Modules may import only modules further up in this list:

1. the core: `errors`, `weight_transforms`, `weight_map`, `weight_transfer`, `auto_classes`,
   `checkpoint_files`, `undeclared_fields`, `family`, `bidirectional`, `rope_and_window_mappings`, `config_diff`,
   `parity_check`
2. `families/`: one module per group of families
3. `registry`: the only module that knows all families
4. `parity_results`, `whole_checkpoints`, `native_checkpoints`, `convert`
5. the commands: `convert_command`, `families_command`

This package changes neither `hf_tfm.modeling` nor transformers."""

from .convert import from_native, to_native
from .errors import ConversionError

__all__ = ["ConversionError", "from_native", "to_native"]
