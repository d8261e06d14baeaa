"""An encoder-decoder's configuration as its decoder reads it."""

from typing import Any

# plain name -> name of the decoder's own field
DECODER_NAMES = {
    "num_hidden_layers": "decoder_layers",
    "num_attention_heads": "decoder_attention_heads",
    "embedding_size": "decoder_embedding_size",
    **{
        name: f"decoder_{name}"
        for name in (
            "vocab_size", "hidden_size", "num_key_value_heads", "head_dim", "intermediate_size", "layer_types",
            "embedding_scale",
        )
    },
}  # fmt: skip


class DecoderView:
    """A live view of a `TfmSeq2SeqConfig` in which plain names are the decoder's. Blocks are built from it, and a later
    change of the one shared configuration (its attention implementation, say) shows in it at once."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __getattr__(self, name: str) -> Any:
        if name == "config":  # not yet there while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.config, DECODER_NAMES.get(name, name))

    @property
    def per_layer_config(self) -> list["DecoderView"]:
        """One entry per layer, as caches count them."""
        return [self] * self.num_hidden_layers

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "DecoderView":
        """Itself: transformers asks for the decoder's configuration, and this is it."""
        return self
