"""Values for fields that every configuration has, none of them the default."""

config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["SomeModel"],
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "tokenizer_class": "SomeTokenizer",
    "pad_token_id": 7,
    "bos_token_id": 8,
    "eos_token_id": 9,
    "problem_type": "regression",
}
