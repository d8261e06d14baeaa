"""`from_native` and `to_native` on models and saved checkpoints, and what they refuse."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    ElectraConfig,
    ElectraForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import hf_tfm
from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM, TfmEncoderConfig, TfmSeq2SeqConfig
from hf_tfm.conversion import ConversionError, from_native, to_native
from hf_tfm.conversion.auto_classes import AUTO_CLASSES
from tests.conversion.tiny import VOCAB_SIZE, randomise
from tests.grid import LANGUAGE_MODELS, assert_same

SIZES = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 32,
}  # fmt: skip
INPUT_IDS = torch.tensor([[5, 17, 42, 8, 3]])


def make_gpt2() -> GPT2LMHeadModel:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": VOCAB_SIZE}
    return randomise(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)))


def make_bert() -> BertForMaskedLM:
    return randomise(BertForMaskedLM(BertConfig(**SIZES)))


def make_ours(**fields: Any) -> TfmDecoderForCausalLM:
    return randomise(TfmDecoderForCausalLM(TfmDecoderConfig.recipe("llama", **SIZES, **fields)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_gpt2().save_pretrained(tmp_path / "native", max_shard_size="20KB")
    return tmp_path


def test_the_functions_are_public() -> None:
    assert (hf_tfm.from_native, hf_tfm.to_native) == (from_native, to_native)
    assert issubclass(ConversionError, ValueError)


def test_a_sharded_folder_converts_and_the_result_is_an_ordinary_checkpoint(folder: Path) -> None:
    assert len(list((folder / "native").glob("*.safetensors"))) > 1
    model = from_native(str(folder / "native"))
    assert model.config.origin == "gpt2"
    model.save_pretrained(folder / "ours")
    again = AutoModelForCausalLM.from_pretrained(folder / "ours")
    native = make_gpt2()
    # not bitwise: GPT-2 stores its matrices transposed, and on some processors their products round differently
    assert_same(again(INPUT_IDS).logits, native(INPUT_IDS).logits, 1e-6, "logits")
    assert native.generate(INPUT_IDS, max_new_tokens=8).tolist() == again.generate(INPUT_IDS, max_new_tokens=8).tolist()


def test_the_native_model_stays_unchanged() -> None:
    native = make_gpt2()
    before = {name: tensor.clone() for name, tensor in native.state_dict().items()}
    model = from_native(native)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in native.state_dict().items())


def test_our_model_stays_unchanged() -> None:
    model = make_ours()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    native = to_native(model, "llama")
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_tied_embeddings_stay_tied() -> None:
    model = from_native(make_gpt2())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    back = to_native(model)
    assert back.lm_head.weight is back.transformer.wte.weight


def test_different_embeddings_are_untied_whatever_the_configuration_says(tmp_path: Path) -> None:
    native = randomise(LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)))
    native.config.tie_word_embeddings = True
    native.save_pretrained(tmp_path / "native")
    model = from_native(str(tmp_path / "native"))
    assert not model.config.tie_word_embeddings
    assert torch.equal(native(INPUT_IDS).logits, model(INPUT_IDS).logits)


def test_the_dtype_is_kept(tmp_path: Path) -> None:
    make_gpt2().to(torch.bfloat16).save_pretrained(tmp_path / "native")
    assert from_native(str(tmp_path / "native")).dtype == torch.bfloat16
    assert from_native(str(tmp_path / "native"), dtype=torch.float32).dtype == torch.float32


def test_another_head_is_new_and_the_base_model_is_that_of_the_checkpoint(folder: Path) -> None:
    model = from_native(str(folder / "native"), head="sequence-classification")
    assert type(model).__name__ == "TfmDecoderForSequenceClassification"
    base = from_native(str(folder / "native"), head="base")
    assert torch.equal(model.model(INPUT_IDS).last_hidden_state, base(INPUT_IDS).last_hidden_state)


def test_a_new_head_has_num_labels_outputs(folder: Path) -> None:
    model = from_native(str(folder / "native"), head="sequence-classification", num_labels=5)
    assert model.classifier.out_features == model.config.num_labels == 5
    with pytest.raises(ConversionError, match="num_labels"):
        from_native(make_gpt2(), num_labels=5)


def test_missing_weights_of_the_base_model_are_named(tmp_path: Path) -> None:
    native = make_gpt2()
    state = {name: tensor for name, tensor in native.state_dict().items() if "h.1.mlp" not in name}
    native.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConversionError, match=r"lacks weights .*h\.1\.mlp"):
        from_native(str(tmp_path))


def test_a_base_model_from_a_checkpoint_without_pooler_has_none(tmp_path: Path) -> None:
    make_bert().save_pretrained(tmp_path)
    model = from_native(str(tmp_path), head="base")
    assert not model.config.add_pooling_layer
    assert model(INPUT_IDS).pooler_output is None


def test_a_model_with_native_features_only_becomes_native() -> None:
    model = make_ours(num_key_value_heads=1, qkv_bias=True, out_bias=True)
    native = to_native(model, "llama")
    assert type(native) is LlamaForCausalLM
    assert torch.equal(native(INPUT_IDS).logits, model(INPUT_IDS).logits)


MUP = {"width_scaling": "mup", "mup_base_width": 8, "mup_base_head_dim": 4}


@pytest.mark.parametrize(
    ("config_class", "recipe", "family", "fields"),
    [
        (TfmDecoderConfig, "llama", "llama", {}),
        (TfmDecoderConfig, "llama", "qwen3", {"qk_norm": "head", "tie_word_embeddings": False}),
        (TfmDecoderConfig, "gpt2", "gpt2", {}),
        (TfmEncoderConfig, "bert", "bert", {}),
        (TfmSeq2SeqConfig, "bart", "bart", {}),
    ],
    ids=["tied", "query norm", "biases", "transform", "post-norm"],
)
def test_width_scaling_becomes_part_of_native_weights(config_class, recipe, family, fields, caplog) -> None:
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = config_class.recipe(recipe, **{**SIZES, "intermediate_size": 128}, **MUP, **ids, **fields)
    model = randomise(LANGUAGE_MODELS[config.model_type.removeprefix("tfm_")][1](config))
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, logger="hf_tfm.conversion.convert"):
        native = to_native(model, family)
    assert 'no equivalent of learning rates by width_scaling="mup"' in caplog.text
    inputs = {"input_ids": INPUT_IDS} | ({"decoder_input_ids": INPUT_IDS} if config.is_encoder_decoder else {})
    assert_same(native(**inputs).logits, model(**inputs).logits, 1e-5, "logits")


NOT_IN_LLAMA = {
    "residual_type": {"residual_type": "post"},
    "position_type": {"position_type": "alibi"},
    "qk_norm": {"qk_norm": "heads"},
    "logit_scale": {"logit_scale": 0.5},
    "norm_type": {"norm_type": "nonparametric_rms_norm"},
    "attention_output_gate": {"attention_output_gate": "head"},
    "value_residual": {"value_residual": True},
    "query_temperature": {"query_temperature": 0.1},
    "layer_scale_init_value": {"layer_scale_init_value": 0.1},
}


@pytest.mark.parametrize("field", NOT_IN_LLAMA)
def test_fields_without_a_native_equivalent_are_named(field: str) -> None:
    with pytest.raises(ConversionError, match=f"llama cannot represent .*{field}"):
        to_native(make_ours(**NOT_IN_LLAMA[field]), "llama")


def test_a_model_that_no_family_can_represent_is_refused() -> None:
    with pytest.raises(ConversionError, match="No native family"):
        to_native(make_ours(residual_type="parallel_two_norms", qk_norm="width", logit_scale=0.5))


def test_lost_dropout_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, logger="hf_tfm.conversion.convert"):
        to_native(make_ours(hidden_dropout=0.3), "llama")
    assert "hidden_dropout=0.3" in caplog.text


def test_an_unsupported_native_field_is_named() -> None:
    native = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, scale_attn_by_inverse_layer_idx=True))
    with pytest.raises(ConversionError, match="scale_attn_by_inverse_layer_idx=True"):
        from_native(native)


def test_an_unsupported_head_is_named() -> None:
    class MyLlama(LlamaForCausalLM):
        """May compute anything."""

    with pytest.raises(ConversionError, match="MyLlama"):
        from_native(MyLlama(LlamaConfig(**SIZES)))


def test_a_class_in_no_auto_class_converts_in_memory_as_its_file_does(tmp_path: Path) -> None:
    native = randomise(BertForPreTraining(BertConfig(**SIZES)))
    native.save_pretrained(tmp_path)
    ours, of_file = from_native(native), from_native(str(tmp_path))
    assert type(ours) is type(of_file)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), of_file.parameters(), strict=True))
    assert_same(ours(INPUT_IDS).logits, native(INPUT_IDS).prediction_logits, 1e-6, "logits")
    assert ours.name_or_path == ""


def test_our_own_checkpoint_is_not_native(tmp_path: Path) -> None:
    make_ours().save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="already"):
        from_native(str(tmp_path))


def test_pickled_weights_are_read_only_when_allowed(tmp_path: Path) -> None:
    native = make_bert()
    native.config.save_pretrained(tmp_path)
    native.config.architectures = ["BertForMaskedLM"]
    native.config.save_pretrained(tmp_path)
    torch.save(native.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="allow_pickle"):
        from_native(str(tmp_path))
    model = from_native(str(tmp_path), allow_pickle=True)
    assert torch.equal(native(INPUT_IDS).logits, model(INPUT_IDS).logits)


def saved_as(native: Any, architectures: list[str] | None, folder: Path) -> str:
    """A folder with this model whose configuration names other classes."""
    native.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": architectures}))
    return str(folder)


def t5() -> T5ForConditionalGeneration:
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 40, "num_layers": 1, "num_heads": 2, "vocab_size": VOCAB_SIZE}
    return randomise(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)))


def llama(head: str) -> Any:
    return randomise(AUTO_CLASSES[head].from_config(LlamaConfig(**SIZES, num_labels=1, pad_token_id=0)))


def discriminator() -> ElectraForPreTraining:
    return randomise(ElectraForPreTraining(ElectraConfig(**SIZES, embedding_size=16)))


# native model, class that its configuration names, class of ours
NAMED_CLASSES = {
    "pre-training heads": (
        lambda: randomise(BertForPreTraining(BertConfig(**SIZES))),
        "BertForPreTraining",
        "MaskedLM",
    ),
    "no class": (make_bert, None, "MaskedLM"),
    "no class and no head": (lambda: make_bert().bert, None, "Model"),
    "a discriminator": (discriminator, "ElectraForPreTraining", "Model"),
    "former name": (t5, "T5WithLMHeadModel", "ConditionalGeneration"),
    "other spelling": (lambda: llama("causal-lm"), "LLaMAForCausalLM", "CausalLM"),
    "no class of a decoder": (make_gpt2, None, "CausalLM"),
    "reward model": (lambda: llama("sequence-classification"), "LlamaForRewardModel", "SequenceClassification"),
    "own classifier": (lambda: llama("token-classification"), "MyForTokenClassification", "TokenClassification"),
}


@pytest.mark.parametrize("case", NAMED_CLASSES)
def test_classes_that_transformers_does_not_have_open_with_the_usual_head(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_native, name, ending = NAMED_CLASSES[case]
    native = make_native()
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, logger="hf_tfm.conversion.convert"):
        ours = from_native(saved_as(native, name and [name], tmp_path))
    assert type(ours).__name__.endswith(ending)
    opened = [record.message for record in caplog.records if record.message.startswith("Opened")]
    assert len(opened) == 1
    assert (name or "no class") in opened[0]
    assert "NEW AND RANDOM" not in caplog.text


def test_weights_of_a_head_that_the_checkpoint_lacks_are_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, logger="hf_tfm.conversion.convert"):
        from_native(str(folder / "native"), head="sequence-classification")
    assert "NEW AND RANDOM" in caplog.text
    assert "score.weight" in caplog.text
