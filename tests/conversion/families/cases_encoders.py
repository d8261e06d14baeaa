"""Encoders: BERT and its relatives, XLM, ModernBERT, EuroBERT."""

from tests.conversion.tiny import SIZES, VOCAB_SIZE, Case

DISTILBERT = {
    "vocab_size": VOCAB_SIZE, "dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 72, "max_position_embeddings": 64,
}  # fmt: skip
# local_attention=10: five tokens on each side
MODERNBERT = SIZES | {"num_hidden_layers": 4, "local_attention": 10, "cls_token_id": 1, "sep_token_id": 2}
BIASES = {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True}
ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
OTHER_IDS = {"pad_token_id": 5, "bos_token_id": 1, "eos_token_id": 2}
UNTIED = {"tie_word_embeddings": False}
LM = ("masked-lm",)

# The native models count positions from the padding ids, so they get no position_ids.
ROBERTA = [
    Case(SIZES, position_ids=False, token_ids=ROBERTA_IDS),
    Case(
        SIZES | UNTIED | {"hidden_act": "relu", "type_vocab_size": 1, "layer_norm_eps": 1e-5}, heads=LM,
        position_ids=False, token_ids=OTHER_IDS, unread=("lm_head.bias",),
    ),
]  # fmt: skip

FULL = {"attention_type": "original_full"}
XLM = {"vocab_size": VOCAB_SIZE, "emb_dim": 48, "n_layers": 3, "n_heads": 4, "max_position_embeddings": 64}
XLM_IDS = {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
BY_LAYER_TYPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}

CASES: dict[str, list[Case]] = {
    "bert": [
        Case(SIZES),
        Case(
            SIZES | UNTIED | {"hidden_act": "relu", "type_vocab_size": 3}, heads=LM, unread=("cls.predictions.bias",),
        ),
    ],
    "ernie": [
        Case(SIZES),
        Case(
            SIZES | UNTIED | {"hidden_act": "relu", "type_vocab_size": 4}, heads=LM, unread=("cls.predictions.bias",),
        ),
    ],
    "bert-generation": [Case(SIZES), Case(SIZES | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5})],
    "electra": [
        Case(SIZES | {"embedding_size": 20}),
        Case(SIZES | UNTIED | {"embedding_size": 48, "hidden_act": "relu"}, heads=LM),
        Case(SIZES | UNTIED | {"embedding_size": 64}, heads=LM),
    ],
    # The native classes of RemBERT, Megatron-BERT, I-BERT, RoFormer, XLM and FlauBERT have no SDPA.
    "rembert": [Case(SIZES | {"input_embedding_size": 20, "output_embedding_size": 24}, sdpa=False)],
    "megatron-bert": [
        Case(SIZES, sdpa=False),
        Case(
            SIZES | UNTIED | {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-5}, heads=LM, sdpa=False,
            unread=("cls.predictions.bias",),
        ),
    ],
    "big_bird": [
        Case(SIZES | FULL, sdpa=False),
        Case(
            SIZES | FULL | UNTIED | {"hidden_act": "relu", "use_bias": False, "rescale_embeddings": True}, sdpa=False,
            heads=("masked-lm", "sequence-classification"), unread=("cls.predictions.bias",),
        ),
    ],
    "ibert": [
        Case(SIZES, position_ids=False, sdpa=False, token_ids=ROBERTA_IDS),
        Case(
            SIZES | UNTIED | {"type_vocab_size": 1}, heads=LM, position_ids=False, sdpa=False, token_ids=OTHER_IDS,
            unread=("lm_head.bias",),
        ),
    ],
    # RoFormer takes no position_ids
    "roformer": [
        Case(SIZES | {"embedding_size": 20}, position_ids=False, sdpa=False),
        Case(
            SIZES | UNTIED | {"hidden_act": "relu"}, heads=("masked-lm", "sequence-classification"), position_ids=False,
            sdpa=False, unread=("cls.predictions.bias",),
        ),
    ],
    "jina_embeddings_v3": [
        Case(SIZES),
        Case(
            SIZES | UNTIED | {
                "hidden_act": "relu", "type_vocab_size": 2,
                "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
            },
            heads=LM, unread=("lm_head.bias",),
        ),
    ],
    "xlm": [
        Case(XLM, sdpa=False, token_ids=XLM_IDS),
        Case(
            XLM | UNTIED | {"gelu_activation": False, "n_langs": 5, "use_lang_emb": False}, heads=LM, sdpa=False,
            token_ids=OTHER_IDS,
        ),
    ],
    "flaubert": [
        Case(XLM, sdpa=False, token_ids=XLM_IDS),
        Case(
            XLM | UNTIED | {
                "gelu_activation": False, "layerdrop": 0.1, "pad_index": 5, "bos_index": 1, "eos_index": 2,
            },
            heads=LM, sdpa=False, token_ids=OTHER_IDS,
        ),
    ],
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert", "data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl"), ROBERTA
    ),
    "distilbert": [
        Case(DISTILBERT),
        Case(DISTILBERT | UNTIED | {"activation": "relu", "sinusoidal_pos_embds": True}, heads=LM),
    ],
    "modernbert": [
        Case(MODERNBERT),
        Case(
            MODERNBERT | UNTIED | BIASES | {
                "classifier_pooling": "mean", "classifier_activation": "relu", "hidden_activation": "silu",
                "local_attention": 7,
                "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
            },
            heads=("masked-lm", "sequence-classification", "token-classification"),
        ),
        Case(
            MODERNBERT | {
                "decoder_bias": False, "layer_types": ["full_attention"] * 4,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                },
            },
            heads=LM,
        ),
    ],
    "nomic_bert": [
        Case(SIZES),
        Case(
            SIZES | {"head_dim": 10, "hidden_act": "gelu", "type_vocab_size": 1}, heads=("base", "masked-lm"),
        ),
        Case(
            SIZES | {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1000.0}},
            heads=("masked-lm", "sequence-classification"),
        ),
    ],
    "eurobert": [
        Case(SIZES | {"num_key_value_heads": 2}),
        Case(SIZES | {"classifier_pooling": "mean"}, heads=("sequence-classification",)),
        Case(
            SIZES | {
                "num_key_value_heads": 1, "head_dim": 10, "attention_bias": True, "mlp_bias": True,
                "tie_word_embeddings": True, "classifier_pooling": "bos",
            },
            heads=("masked-lm", "sequence-classification"),
        ),
        Case(
            SIZES | {
                "rope_parameters": {
                    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0,
                },
            },
            heads=LM,
        ),
    ],
    # every third layer without a window
    "ultrabert": [
        Case(SIZES | {"sliding_window": 3}),
        Case(
            SIZES | {
                "num_key_value_heads": 2, "head_dim": 10, "attention_bias": True, "mlp_bias": True, "sliding_window": 2,
                "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
                "rope_parameters": BY_LAYER_TYPE, "classifier_pooling": "mean",
            },
            heads=("sequence-classification",),
        ),
    ],
}  # fmt: skip
