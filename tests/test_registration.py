"""The Auto classes know every architecture and head once the package is imported."""

import pytest
from transformers import AutoConfig, AutoModel, pipeline
from transformers.models.auto import modeling_auto

import hf_tfm
from hf_tfm.modeling.modeling_tfm import NAME_TABLES
from tests.grid import SIZES, make

CASES = [
    (config_class, auto_class, reference.split(".")[-1])
    for config_class, trunk in (
        (hf_tfm.TfmEncoderConfig, hf_tfm.TfmEncoderModel),
        (hf_tfm.TfmDecoderConfig, hf_tfm.TfmDecoderModel),
        (hf_tfm.TfmSeq2SeqConfig, hf_tfm.TfmSeq2SeqModel),
    )
    for auto_class, reference in trunk._auto_map.items()
    if auto_class != "AutoConfig"
]


@pytest.mark.parametrize(("config_class", "auto_class", "name"), CASES)
def test_each_auto_class_builds_its_head(config_class, auto_class, name):
    model = getattr(modeling_auto, auto_class).from_config(config_class(**SIZES))
    assert type(model) is getattr(hf_tfm, name)
    table = getattr(modeling_auto, NAME_TABLES[auto_class])
    assert table[config_class.model_type] == name, "the table that Trainer and model cards read"


def test_every_public_head_is_registered():
    heads = {n for n in hf_tfm.__all__ if n.startswith("Tfm") and not n.endswith("Config")}
    assert heads == {name for *_, name in CASES}


def test_model_types_are_known_by_name():
    for config_class in (hf_tfm.TfmEncoderConfig, hf_tfm.TfmDecoderConfig, hf_tfm.TfmSeq2SeqConfig):
        assert type(AutoConfig.for_model(config_class.model_type)) is config_class


def test_a_head_of_another_architecture_is_refused():
    with pytest.raises(ValueError, match="TfmEncoderConfig"):
        modeling_auto.AutoModelForCausalLM.from_config(hf_tfm.TfmEncoderConfig(**SIZES))
    assert type(AutoModel.from_config(hf_tfm.TfmEncoderConfig(**SIZES))) is hf_tfm.TfmEncoderModel


def test_a_pipeline_runs_on_a_local_folder(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "the", "cat", "sat", "on", "mat"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    make("decoder", vocab_size=len(words)).save_pretrained(tmp_path)
    wrapped.save_pretrained(tmp_path)
    generate = pipeline("text-generation", str(tmp_path), do_sample=False, max_new_tokens=3)
    alone = [generate(text)[0]["generated_text"] for text in ("the cat", "the cat sat on the mat")]
    batch = generate(["the cat", "the cat sat on the mat"], batch_size=2)
    assert [row[0]["generated_text"] for row in batch] == alone
