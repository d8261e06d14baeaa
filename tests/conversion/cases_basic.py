"""BERT."""

from tests.conversion.tiny import VOCABULARY, Case

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 72, "max_position_embeddings": 64,
}  # fmt: skip

CASES: dict[str, list[Case]] = {
    "bert": [
        Case(SIZES),
        Case(
            SIZES | {"hidden_act": "relu", "type_vocab_size": 3, "tie_word_embeddings": False}, heads=("masked-lm",),
            dead=("cls.predictions.bias",),
        ),
    ],
}  # fmt: skip
