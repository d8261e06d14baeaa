"""A run that starts from a checkpoint of a native family."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, ViTConfig

from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.loop.model_creation import config_label_names, num_token_types, read_config
from hf_tfm.training.loop.native_checkpoints import converted_checkpoint
from tests.conversion.tiny import randomise
from tests.training.tiny import make_tiny

SIZES = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 32,
}  # fmt: skip
LABELS: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
CLASSIFIER = "AutoModelForSequenceClassification"


def load(source: str) -> Any:
    from hf_tfm import TfmEncoderForSequenceClassification

    with converted_checkpoint(source, CLASSIFIER, LABELS) as folder:
        return TfmEncoderForSequenceClassification.from_pretrained(folder)


def test_a_language_model_keeps_its_base_model_and_gets_a_head_for_the_new_labels(tmp_path: Path) -> None:
    native = randomise(BertForMaskedLM(BertConfig(**SIZES)))
    native.save_pretrained(tmp_path)
    model = load(str(tmp_path))
    assert model.config.id2label == LABELS["id2label"]
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(native.bert(ids).last_hidden_state, model.model(ids).last_hidden_state)


def test_a_classifier_keeps_its_own_labels(tmp_path: Path) -> None:
    native = randomise(BertForSequenceClassification(BertConfig(**SIZES, id2label={0: "no", 1: "yes"})))
    native.save_pretrained(tmp_path)
    assert config_label_names(read_config(str(tmp_path))) == ("no", "yes")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(native(ids).logits, load(str(tmp_path))(ids).logits)


def test_a_bfloat16_checkpoint_is_loaded_in_float32(tmp_path: Path) -> None:
    randomise(BertForMaskedLM(BertConfig(**SIZES))).to(torch.bfloat16).save_pretrained(tmp_path)
    assert load(str(tmp_path)).dtype == torch.float32


def test_our_own_checkpoint_is_not_converted(tmp_path: Path) -> None:
    from hf_tfm import TfmEncoderConfig

    TfmEncoderConfig(hidden_size=16, num_attention_heads=2).save_pretrained(tmp_path)
    with converted_checkpoint(str(tmp_path), CLASSIFIER, LABELS) as folder:
        assert folder == str(tmp_path)


def test_a_model_of_no_supported_family_is_refused(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hf-tfm families"):
        read_config(str(tmp_path))


def test_token_types_are_read_from_a_native_configuration(tmp_path: Path) -> None:
    BertConfig(**SIZES).save_pretrained(tmp_path)
    arguments = ModelArguments(init_from=str(tmp_path))
    assert num_token_types(arguments, make_tiny("sequence-classification").objective, "tfm_encoder") == 2
