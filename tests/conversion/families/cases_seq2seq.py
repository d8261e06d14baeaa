"""Encoder-decoders: T5, BART and their relatives."""

from tests.conversion.tiny import VOCAB_SIZE, Case

LM = ("seq2seq-lm",)
T5 = {
    "vocab_size": VOCAB_SIZE, "d_model": 48, "d_kv": 10, "d_ff": 72, "num_layers": 3, "num_decoder_layers": 2,
    "num_heads": 4, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}  # fmt: skip
GATED = {"feed_forward_proj": "gated-gelu"}
BART = {
    "vocab_size": VOCAB_SIZE, "d_model": 48, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 6, "encoder_ffn_dim": 56, "decoder_ffn_dim": 72, "max_position_embeddings": 40,
}  # fmt: skip
DEEPER = {"encoder_layers": 1, "decoder_layers": 3}
UNTIED = {"tie_word_embeddings": False}
IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# The native models count padding as positions and take no position_ids, so left padding shifts the tokens.
PADDING_COUNTS = {"position_ids": False, "left_padding": False, "token_ids": IDS}
PEGASUS_IDS = {"pad_token_id": 0, "eos_token_id": 1}
# with untied embeddings, one of them is not read
UNREAD = ("model.shared.weight",)
GEMMA = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
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
        Case(T5, position_ids=False),
        Case(T5 | GATED | {"scale_decoder_outputs": False}, heads=LM, position_ids=False),
    ],
    "mt5": [
        Case(T5 | GATED, position_ids=False),
        # the native cache has as many layers as the encoder, so a deeper decoder cannot generate
        Case(T5 | {"feed_forward_proj": "relu", "num_decoder_layers": 4}, heads=LM, position_ids=False, generate=False),
    ],
    "longt5": [
        Case(T5 | {"local_radius": 4}, position_ids=False, sdpa=False),
        Case(T5 | GATED | {"local_radius": 2, "num_layers": 2, **UNTIED}, heads=LM, position_ids=False, sdpa=False),
    ],
    "bart": [
        Case(BART, **PADDING_COUNTS),
        Case(
            BART | UNTIED | {"scale_embedding": True, "activation_function": "relu"}, heads=LM, unread=UNREAD,
            **PADDING_COUNTS,
        ),
    ],
    "mvp": [
        Case(BART, sdpa=False, **PADDING_COUNTS),
        Case(
            BART | UNTIED | {"scale_embedding": True, "activation_function": "relu"}, heads=LM, sdpa=False,
            unread=UNREAD, **PADDING_COUNTS,
        ),
    ],
    "mbart": [
        Case(BART, **PADDING_COUNTS),
        Case(BART | DEEPER | {"scale_embedding": True}, heads=LM, **PADDING_COUNTS),
    ],
    "plbart": [
        Case(BART, **PADDING_COUNTS),
        Case(BART | DEEPER | {"scale_embedding": False}, heads=LM, **PADDING_COUNTS),
    ],
    "blenderbot": [
        Case(BART | DEEPER, **PADDING_COUNTS),
        Case(BART | UNTIED | {"scale_embedding": True}, heads=LM, unread=UNREAD, **PADDING_COUNTS),
    ],
    "bigbird_pegasus": [
        Case(BART | {"attention_type": "original_full"}, sdpa=False, **PADDING_COUNTS),
        Case(
            BART | DEEPER | {"attention_type": "original_full", "use_bias": True, "scale_embedding": False}, heads=LM,
            sdpa=False, **PADDING_COUNTS,
        ),
    ],
    "marian": [
        Case(
            BART | {"scale_embedding": True, "activation_function": "swish", "decoder_start_token_id": 1},
            **PADDING_COUNTS,
        ),
        Case(
            BART | DEEPER | {"decoder_vocab_size": 83, "share_encoder_decoder_embeddings": False,
                             "decoder_start_token_id": 1}, heads=LM, **PADDING_COUNTS,
        ),
    ],
    "pegasus": [
        Case(
            BART | {"scale_embedding": True, "activation_function": "relu"},
            **PADDING_COUNTS | {"token_ids": PEGASUS_IDS},
        ),
        Case(BART | DEEPER | UNTIED, heads=LM, unread=UNREAD, **PADDING_COUNTS | {"token_ids": PEGASUS_IDS}),
    ],
    "m2m_100": [
        Case(BART, position_ids=False, token_ids=IDS),
        Case(BART | DEEPER | {"scale_embedding": False}, heads=LM, position_ids=False, token_ids=IDS),
    ],
    # the native class caps attention scores, which sdpa cannot do
    "t5gemma": [
        Case({"encoder": GEMMA, "decoder": GEMMA}, sdpa=False),
        Case({"encoder": GEMMA, "decoder": GEMMA | SMALLER}, heads=LM, sdpa=False),
        Case({"encoder": GEMMA | UNCAPPED, "decoder": GEMMA | UNCAPPED, **UNTIED}, heads=LM, sdpa=False),
    ],
}  # fmt: skip
