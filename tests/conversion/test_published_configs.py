"""Published `config.json` texts, shrunk: equal numbers to ours and back, or a refusal that names the feature.

`CONFIGS` holds the shapes that once went wrong. More are read from a file with one JSON object a line ("name" and
"config"): that of the environment variable PUBLISHED_CONFIGS, or `shared/data/published_configs` beside the clone."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoConfig

from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.auto_classes import head_and_reason, head_of_model, model_class
from hf_tfm.conversion.parity_check import Float32Mode
from hf_tfm.conversion.registry import FAMILIES
from tests.conversion.tiny import VOCAB_SIZE, randomise

SHARED = Path(__file__).parents[3] / "shared" / "data" / "published_configs" / "stored.jsonl"
FILE = Path(os.environ.get("PUBLISHED_CONFIGS", SHARED))

Config = dict[str, Any]
LLAMA_SHAPE: Config = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu",
}  # fmt: skip
BERT_SHAPE: Config = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "pad_token_id": 0,
}  # fmt: skip
T5_SHAPE: Config = {
    "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128, "n_positions": 512,
    "relative_attention_num_buckets": 32, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, Config] = {
    "attention without direction": LLAMA_SHAPE | {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "is_causal": False, "num_key_value_heads": 8,
        "sliding_window": 131072, "use_sliding_window": False, "auto_map": {"AutoModel": "modeling_qwen.Qwen2Model"},
    },
    "experts in bfloat16": LLAMA_SHAPE | {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "torch_dtype": "bfloat16",
        "num_local_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 8, "sliding_window": None,
    },
    "scaled rotary positions under their former name": LLAMA_SHAPE | {
        "model_type": "llama", "architectures": ["LLaMAForCausalLM"], "torch_dtype": "float16", "head_dim": 128,
        "rope_scaling": {"type": "linear", "factor": 4.0}, "num_key_value_heads": 8, "pretraining_tp": 1,
    },
    "a reward model": LLAMA_SHAPE | {
        "model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"},
        "torch_dtype": "bfloat16", "pad_token_id": 128004, "eos_token_id": [128001, 128008, 128009],
    },
    "settings of heads that are not there": {
        "model_type": "gptj", "architectures": ["GPTJForCausalLM"], "n_embd": 4096, "n_head": 16, "n_layer": 28,
        "n_positions": 2048, "rotary_dim": 64, "vocab_size": 50400, "summary_proj_to_labels": True,
        "summary_first_dropout": 0.1, "tie_word_embeddings": False,
    },
    "derived fields that are written out": {
        "model_type": "gpt_neo", "architectures": ["GPTNeoForCausalLM"], "hidden_size": 768, "num_heads": 12,
        "num_layers": 12, "max_position_embeddings": 2048, "window_size": 256, "intermediate_size": None,
        "attention_types": [[["global", "local"], 6]], "attention_layers": ["global", "local"] * 6,
        "vocab_size": 50258, "gradient_checkpointing": False,
    },
    "embeddings tied although T5 says not": T5_SHAPE | {
        "model_type": "t5", "architectures": ["T5WithLMHeadModel"], "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new", "is_gated_act": True, "tie_word_embeddings": False, "output_past": True,
    },
    "pre-training heads": BERT_SHAPE | {"model_type": "bert", "architectures": ["BertForPreTraining"]},
    "a discriminator": BERT_SHAPE | {
        "model_type": "electra", "architectures": ["ElectraForPreTraining"], "embedding_size": 128,
    },
    "pre-training heads, and full attention instead of the sparse one": BERT_SHAPE | {
        "model_type": "big_bird", "architectures": ["BigBirdForPreTraining"], "attention_type": "original_full",
        "rescale_embeddings": False, "use_bias": True, "block_size": 64, "num_random_blocks": 3,
    },
    "a language head that transformers lists as causal and as masked": {
        "model_type": "xlm", "architectures": ["XLMWithLMHeadModel"], "emb_dim": 1280, "n_heads": 16, "n_layers": 16,
        "n_langs": 100, "use_lang_emb": False, "max_position_embeddings": 512, "vocab_size": 200000, "asm": False,
        "causal": False, "bos_index": 0, "eos_index": 1, "pad_index": 2, "max_vocab": 200000, "same_enc_dec": True,
        "share_inout_emb": True, "is_encoder": True, "lang_id": 0, "mask_token_id": 0, "gelu_activation": True,
    },
    "layer types under their former names": LLAMA_SHAPE | {
        "model_type": "granitemoehybrid", "architectures": ["GraniteMoeHybridForCausalLM"], "torch_dtype": "bfloat16",
        "layer_types": ["attention"] * 32, "num_local_experts": 0, "num_experts_per_tok": 0, "mamba_n_heads": 128,
        "shared_intermediate_size": 4096, "position_embedding_type": "rope", "attention_multiplier": 0.0078125,
        "embedding_multiplier": 12, "logits_scaling": 8, "residual_multiplier": 0.22, "num_key_value_heads": 4,
        "rope_theta": 10000000, "tie_word_embeddings": True, "mamba_d_head": 64, "mamba_expand": 2,
    },
    "no architectures": BERT_SHAPE | {"model_type": "bert"},
    "an image encoder": {
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {},
        "text_config": LLAMA_SHAPE,
    },
    "a layout of former code": {
        "model_type": "phi-msft", "n_embd": 2560, "auto_map": {"AutoConfig": "configuration_phi.PhiConfig"},
    },
}  # fmt: skip
# Model type -> the feature that its refusal names.
REFUSED = {
    "gemma3": "vision_config", "ministral3": "vision_config", "phi-msft": "its former code",
    "internlm2": "its own code", "phimoe": "SparseMixer",
}  # fmt: skip

SMALL_SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "max_position_embeddings"), 64),
    **dict.fromkeys(("n_positions", "n_ctx", "emb_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "embedding_size"), 32),
    **dict.fromkeys(("num_experts", "num_local_experts"), 4),
    **dict.fromkeys(("shared_intermediate_size", "mamba_n_heads"), 32), "mamba_d_head": 4,
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("vocab_size", "decoder_vocab_size"), VOCAB_SIZE),
    "num_key_value_heads": 4, "num_experts_per_tok": 2, "head_dim": 16, "d_kv": 16, "rotary_dim": 8,
    "sliding_window": 8, "window_size": 8, "max_window_layers": 1, "original_max_position_embeddings": 16,
}  # fmt: skip


def shrunk(config: Config) -> Config:
    """The same choices in small: sizes, lists by layer, rotary factors by element, token ids within the vocabulary."""
    small = {
        name: min(value, SMALL_SIZES[name]) if name in SMALL_SIZES and type(value) is int else value
        for name, value in config.items()
    }
    if config.get("num_key_value_heads", 0) < config.get("num_attention_heads", 0):
        small["num_key_value_heads"] = min(2, config.get("num_key_value_heads", 4))
    for name in ("layer_types", "attention_layers"):
        if name in small:
            small[name] = small[name][:2]
    if "attention_types" in small:
        small["attention_types"] = [[["global", "local"], 1]]
    for name, value in small.items():
        if name.endswith("token_id") and value is not None:
            small[name] = [id % 3 for id in value] if isinstance(value, list) else value % 3
    if isinstance(small.get("rope_scaling"), dict):
        rotated = int(16 * small.get("partial_rotary_factor", 1.0)) // 2
        rope = shrunk(small["rope_scaling"])
        small["rope_scaling"] = {k: v[:rotated] if isinstance(v, list) else v for k, v in rope.items()}
    return small


def published() -> list[Any]:
    """Every configuration once, since many are equal in small."""
    texts = FILE.read_text(encoding="utf-8").splitlines() if FILE.is_file() else []
    named = CONFIGS | {entry["name"]: entry["config"] for entry in map(json.loads, texts)}
    different = {json.dumps(without_name(config), sort_keys=True): name for name, config in named.items()}
    return [pytest.param(named[name], id=name) for name in different.values()]


def without_name(config: Config) -> Config:
    unread = ("_name_or_path", "transformers_version", "auto_map", "vocab_size", "bos_token_id", "eos_token_id")
    return {name: value for name, value in shrunk(config).items() if name not in unread}


def save_native(config: Config, folder: Path) -> Any:
    """A native model with random weights, saved beside the published keys."""
    (folder / "config.json").write_text(json.dumps(config))
    native_config = AutoConfig.from_pretrained(folder)
    head, _ = head_and_reason(native_config)
    name = (native_config.architectures or [""])[0]
    native_class = getattr(transformers, name, None) or model_class(native_config, head)
    native = randomise(native_class(native_config))
    native.to(native_config.dtype or torch.float32).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    return native


@pytest.mark.parametrize("config", published())
def test_a_published_configuration_gives_equal_numbers_or_names_the_feature(config: Config, tmp_path: Path) -> None:
    config = shrunk(config)
    feature = "is quantised" if "quantization_config" in config else REFUSED.get(config["model_type"])
    if feature is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConversionError, match=feature):
            from_native(str(tmp_path))
        return
    save_native(config, tmp_path)
    ours = from_native(str(tmp_path))
    # its weights and its configuration are compared below
    back = to_native(ours, verify=False)
    native = type(back).from_pretrained(tmp_path, dtype=ours.dtype).eval()
    mask = torch.arange(30) < torch.tensor([[30], [21]])
    ids = torch.randint(3, VOCAB_SIZE, mask.shape, generator=torch.Generator().manual_seed(0))
    if native.config.pad_token_id is not None:
        ids = ids.where(mask, native.config.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask.long()}
    if native.config.is_encoder_decoder:
        batch["decoder_input_ids"] = ids[:, :9]
        mask = mask[:, :9]
    with torch.no_grad(), Float32Mode():
        expected, found = (next(iter(model(**batch).values())) for model in (native, ours))
    if expected.dim() == 3 or expected.shape == mask.shape:
        expected, found = expected[mask], found[mask]
    assert ((expected - found).abs().max() / expected.abs().max()).item() <= 1e-5
    before, after = native.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    family = FAMILIES[config["model_type"]]
    tolerance = 1e-6 if family.needs_float32 else 0
    names = family.read_weights(head_of_model(back), before)
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=tolerance) for name in names)
