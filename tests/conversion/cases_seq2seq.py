"""Encoder-decoders: T5 and BART, and what is built like them."""

from tests.conversion.tiny import VOCABULARY, Case

LM = ("seq2seq-lm",)
T5 = {
    "vocab_size": VOCABULARY, "d_model": 48, "d_kv": 10, "d_ff": 72, "num_layers": 3, "num_decoder_layers": 2,
    "num_heads": 4, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu"}
BART = {
    "vocab_size": VOCABULARY, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 6, "encoder_ffn_dim": 56, "decoder_ffn_dim": 72, "max_position_embeddings": 40,
}  # fmt: skip
DEEPER = {"encoder_layers": 1, "decoder_layers": 3}
UNTIED = {"tie_word_embeddings": False}
IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# Positions are slots: what stands left of the words moves them, and nothing tells the native model.
SLOTS = {"positions": False, "left": False, "ids": IDS}
PEGASUS_IDS = {"pad_token_id": 0, "eos_token_id": 1}
# of tables that are not tied, one is not read
DEAD = ("model.shared.weight",)
GEMMA = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 72, "max_position_embeddings": 64,
    "sliding_window": 4, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SMALLER = {
    "vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "intermediate_size": 40,
}  # fmt: skip
UNCAPPED = {
    "attn_logit_softcapping": None, "final_logit_softcapping": None, "query_pre_attn_scalar": 10,
    "attention_bias": True, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
}  # fmt: skip

CASES: dict[str, list[Case]] = {
    "t5": [
        Case(T5, positions=False),
        Case(T5 | GATED | {"scale_decoder_outputs": False}, heads=LM, positions=False),
    ],
    "mt5": [
        Case(T5 | GATED, positions=False),
        # natively the cache has as many layers as the encoder: a deeper decoder cannot generate
        Case(T5 | {"feed_forward_proj": "relu", "num_decoder_layers": 4}, heads=LM, positions=False, text=False),
    ],
    "longt5": [
        Case(T5 | {"local_radius": 4}, positions=False, sdpa=False),
        Case(T5 | GATED | {"local_radius": 2, "num_layers": 2, **UNTIED}, heads=LM, positions=False, sdpa=False),
    ],
    "bart": [
        Case(BART, **SLOTS),
        Case(BART | UNTIED | {"scale_embedding": True, "activation_function": "relu"}, heads=LM, dead=DEAD, **SLOTS),
    ],
    "mbart": [
        Case(BART, **SLOTS),
        Case(BART | DEEPER | {"scale_embedding": True}, heads=LM, **SLOTS),
    ],
    "plbart": [
        Case(BART, **SLOTS),
        Case(BART | DEEPER | {"scale_embedding": False}, heads=LM, **SLOTS),
    ],
    "blenderbot": [
        Case(BART | DEEPER, **SLOTS),
        Case(BART | UNTIED | {"scale_embedding": True}, heads=LM, dead=DEAD, **SLOTS),
    ],
    "bigbird_pegasus": [
        Case(BART | {"attention_type": "original_full"}, sdpa=False, **SLOTS),
        Case(
            BART | DEEPER | {"attention_type": "original_full", "use_bias": True, "scale_embedding": False}, heads=LM,
            sdpa=False, **SLOTS,
        ),
    ],
    "marian": [
        Case(BART | {"scale_embedding": True, "activation_function": "swish", "decoder_start_token_id": 1}, **SLOTS),
        Case(
            BART | DEEPER | {"decoder_vocab_size": 83, "share_encoder_decoder_embeddings": False,
                             "decoder_start_token_id": 1}, heads=LM, **SLOTS,
        ),
    ],
    "pegasus": [
        Case(BART | {"scale_embedding": True, "activation_function": "relu"}, **SLOTS | {"ids": PEGASUS_IDS}),
        Case(BART | DEEPER | UNTIED, heads=LM, dead=DEAD, **SLOTS | {"ids": PEGASUS_IDS}),
    ],
    "m2m_100": [
        Case(BART, positions=False, ids=IDS),
        Case(BART | DEEPER | {"scale_embedding": False}, heads=LM, positions=False, ids=IDS),
    ],
    # natively scores are capped, which sdpa cannot do
    "t5gemma": [
        Case({"encoder": GEMMA, "decoder": GEMMA}, sdpa=False),
        Case({"encoder": GEMMA, "decoder": GEMMA | SMALLER}, heads=LM, sdpa=False),
        Case({"encoder": GEMMA | UNCAPPED, "decoder": GEMMA | UNCAPPED, **UNTIED}, heads=LM, sdpa=False),
    ],
}  # fmt: skip
