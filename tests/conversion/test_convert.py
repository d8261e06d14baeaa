"""Checkpoints on disk, both ways: by function and from the shell; and what is refused."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import hf_tfm
from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM, cli
from hf_tfm.conversion import ConversionError, from_native, to_native
from tests.conversion.tiny import VOCABULARY, randomise

SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 40, "max_position_embeddings": 32,
}  # fmt: skip
WORDS = torch.tensor([[5, 17, 42, 8, 3]])


def gpt2() -> GPT2LMHeadModel:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": VOCABULARY}
    return randomise(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)))


def bert() -> BertForMaskedLM:
    return randomise(BertForMaskedLM(BertConfig(**SIZES)))


def ours(**words: Any) -> TfmDecoderForCausalLM:
    return randomise(TfmDecoderForCausalLM(TfmDecoderConfig.recipe("llama", **SIZES, **words)))


def save_tokenizer(folder: Path) -> None:
    vocabulary = {f"w{i}": i for i in range(VOCABULARY)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token="w0").save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gpt2().save_pretrained(tmp_path / "native", max_shard_size="20KB")
    save_tokenizer(tmp_path / "native")
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
    native = gpt2()
    assert torch.equal(native(WORDS).logits, again(WORDS).logits)
    assert native.generate(WORDS, max_new_tokens=8).tolist() == again.generate(WORDS, max_new_tokens=8).tolist()


def test_the_native_model_is_left_as_it_is() -> None:
    native = gpt2()
    before = {name: tensor.clone() for name, tensor in native.state_dict().items()}
    model = from_native(native)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in native.state_dict().items())


def test_our_model_is_left_as_it_is() -> None:
    model = ours()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    native = to_native(model, "llama")
    with torch.no_grad():
        for parameter in native.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_tied_tables_stay_one_table() -> None:
    model = from_native(gpt2())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    back = to_native(model)
    assert back.lm_head.weight is back.transformer.wte.weight


def test_tables_that_differ_are_untied_whatever_the_configuration_says(tmp_path: Path) -> None:
    native = randomise(LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)))
    native.config.tie_word_embeddings = True
    native.save_pretrained(tmp_path / "native")
    model = from_native(str(tmp_path / "native"))
    assert not model.config.tie_word_embeddings
    assert torch.equal(native(WORDS).logits, model(WORDS).logits)


def test_precision_is_kept(tmp_path: Path) -> None:
    gpt2().to(torch.bfloat16).save_pretrained(tmp_path / "native")
    assert from_native(str(tmp_path / "native")).dtype == torch.bfloat16
    assert from_native(str(tmp_path / "native"), dtype=torch.float32).dtype == torch.float32


def test_another_head_starts_afresh_and_the_trunk_is_the_checkpoint(folder: Path) -> None:
    model = from_native(str(folder / "native"), head="sequence-classification")
    assert type(model).__name__ == "TfmDecoderForSequenceClassification"
    trunk = from_native(str(folder / "native"), head="base")
    assert torch.equal(model.model(WORDS).last_hidden_state, trunk(WORDS).last_hidden_state)


def test_a_new_head_has_the_labels_that_are_asked_for(folder: Path) -> None:
    model = from_native(str(folder / "native"), head="sequence-classification", num_labels=5)
    assert model.classifier.out_features == model.config.num_labels == 5
    with pytest.raises(ConversionError, match="num_labels"):
        from_native(gpt2(), num_labels=5)


def test_weights_that_are_missing_from_the_trunk_are_named(tmp_path: Path) -> None:
    native = gpt2()
    state = {name: tensor for name, tensor in native.state_dict().items() if "h.1.mlp" not in name}
    native.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConversionError, match=r"lacks weights .*h\.1\.mlp"):
        from_native(str(tmp_path))


def test_a_trunk_from_a_checkpoint_without_pooler_has_none(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    model = from_native(str(tmp_path), head="base")
    assert not model.config.add_pooling_layer
    assert model(WORDS).pooler_output is None


def test_a_model_trained_here_becomes_native_where_its_words_allow() -> None:
    model = ours(num_key_value_heads=1, qkv_bias=True, out_bias=True)
    native = to_native(model, "llama")
    assert type(native) is LlamaForCausalLM
    assert torch.equal(native(WORDS).logits, model(WORDS).logits)


REFUSED_BACK = {
    "residual_type": {"residual_type": "post"},
    "position_type": {"position_type": "alibi"},
    "qk_norm": {"qk_norm": "heads"},
    "logit_scale": {"logit_scale": 0.5},
}


@pytest.mark.parametrize("field", REFUSED_BACK)
def test_what_the_family_cannot_say_is_named(field: str) -> None:
    with pytest.raises(ConversionError, match=f"llama cannot say .*{field}"):
        to_native(ours(**REFUSED_BACK[field]), "llama")


def test_a_model_that_no_family_can_say_is_refused() -> None:
    with pytest.raises(ConversionError, match="No native family"):
        to_native(ours(residual_type="parallel_two_norms", qk_norm="width", logit_scale=0.5))


def test_places_of_dropout_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING, logger="hf_tfm.conversion.convert"):
        to_native(ours(hidden_dropout=0.3), "llama")
    assert "hidden_dropout=0.3" in caplog.text


def test_a_native_field_that_cannot_be_said_is_named() -> None:
    native = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, scale_attn_by_inverse_layer_idx=True))
    with pytest.raises(ConversionError, match="scale_attn_by_inverse_layer_idx=True"):
        from_native(native)


def test_a_head_without_counterpart_is_named() -> None:
    with pytest.raises(ConversionError, match="BertForPreTraining"):
        from_native(BertForPreTraining(BertConfig(**SIZES)))


def test_our_own_checkpoint_is_not_native(tmp_path: Path) -> None:
    ours().save_pretrained(tmp_path)
    with pytest.raises(ConversionError, match="already"):
        from_native(str(tmp_path))


def test_pickled_weights_are_read_only_when_allowed(tmp_path: Path) -> None:
    native = bert()
    native.config.save_pretrained(tmp_path)
    native.config.architectures = ["BertForMaskedLM"]
    native.config.save_pretrained(tmp_path)
    torch.save(native.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="allow_pickle"):
        from_native(str(tmp_path))
    model = from_native(str(tmp_path), allow_pickle=True)
    assert torch.equal(native(WORDS).logits, model(WORDS).logits)


def test_the_command_goes_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["convert", str(folder / "native"), str(folder / "ours")])
    said = capsys.readouterr().out
    assert "GPT2LMHeadModel -> TfmDecoderForCausalLM" in said
    assert "Largest difference" in said
    assert "Next: " in said
    cli.main(["convert", str(folder / "ours"), str(folder / "back"), "--to", "native"])
    first, last = (AutoModelForCausalLM.from_pretrained(folder / name) for name in ("native", "back"))
    assert type(first) is type(last) is GPT2LMHeadModel
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), last.parameters(), strict=True))
    assert first.generation_config.to_dict() == last.generation_config.to_dict()
    tokenizers = [AutoTokenizer.from_pretrained(folder / name) for name in ("native", "ours", "back")]
    assert len({tuple(tokenizer("w3 w5")["input_ids"]) for tokenizer in tokenizers}) == 1


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["convert", *arguments])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_command_refuses_in_one_line_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    native, there = str(folder / "native"), folder / "new"
    assert "not an empty folder" in refused([native, native], capsys)
    assert "native already" in refused([native, str(there), "--to", "native"], capsys)
    assert "multiple-choice" in refused([native, str(there), "--head", "multiple-choice"], capsys)
    assert str(folder / "nowhere") in refused([str(folder / "nowhere"), str(there)], capsys)
    assert not there.exists()


def test_answers_that_differ_are_not_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hf_tfm.conversion.command.largest_difference", lambda before, after: float("nan"))
    assert "Nothing was written" in refused([str(folder / "native"), str(folder / "new")], capsys)
    assert not (folder / "new").exists()
