"""Importing the package registers every architecture and head with the Auto classes of transformers."""

import pytest
from transformers import AutoConfig, AutoModel, pipeline
from transformers.models.auto import modeling_auto

import hf_tfm
from hf_tfm.modeling.modeling_tfm import NAME_TABLES
from tests.grid import SIZES, make

CASES = [
    (config_class, auto_class, reference.split(".")[-1])
    for config_class, base_model in (
        (hf_tfm.TfmEncoderConfig, hf_tfm.TfmEncoderModel),
        (hf_tfm.TfmDecoderConfig, hf_tfm.TfmDecoderModel),
        (hf_tfm.TfmSeq2SeqConfig, hf_tfm.TfmSeq2SeqModel),
    )
    for auto_class, reference in base_model._auto_map.items()
    if auto_class != "AutoConfig"
]


@pytest.mark.parametrize(("config_class", "auto_class", "name"), CASES)
def test_each_auto_class_builds_the_head_registered_for_it(config_class, auto_class, name):
    model = getattr(modeling_auto, auto_class).from_config(config_class(**SIZES))
    assert type(model) is getattr(hf_tfm, name)
    table = getattr(modeling_auto, NAME_TABLES[auto_class])
    assert table[config_class.model_type] == name, "the table that Trainer and model cards read"


def test_every_public_head_is_registered_or_shares_auto_model():
    heads = {n for n in hf_tfm.__all__ if n.startswith("Tfm") and not n.endswith("Config")}
    registered = {name for *_, name in CASES}
    assert registered <= heads
    # checkpoints of these heads name them; the registered class of AutoModel is the base model
    sharing = {n for n in heads if getattr(hf_tfm, n)._auto_map["AutoModel"].endswith(f".{n}")} - registered
    assert heads - registered == sharing == {"TfmEncoderForTextEmbedding", "TfmDecoderForTextEmbedding"}


def test_auto_config_knows_each_model_type():
    for config_class in (hf_tfm.TfmEncoderConfig, hf_tfm.TfmDecoderConfig, hf_tfm.TfmSeq2SeqConfig):
        assert type(AutoConfig.for_model(config_class.model_type)) is config_class


def test_auto_class_refuses_an_architecture_without_its_head():
    with pytest.raises(ValueError, match="TfmEncoderConfig"):
        modeling_auto.AutoModelForCausalLM.from_config(hf_tfm.TfmEncoderConfig(**SIZES))
    assert type(AutoModel.from_config(hf_tfm.TfmEncoderConfig(**SIZES))) is hf_tfm.TfmEncoderModel


def test_pipeline_on_a_saved_folder_gives_the_same_text_batched_single_and_assisted(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "the", "cat", "sat", "on", "mat"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    make("decoder", vocab_size=len(vocabulary)).save_pretrained(tmp_path)
    wrapped.save_pretrained(tmp_path)
    generate = pipeline("text-generation", str(tmp_path), do_sample=False, max_new_tokens=3)
    single = [generate(text)[0]["generated_text"] for text in ("the cat", "the cat sat on the mat")]
    batch = generate(["the cat", "the cat sat on the mat"], batch_size=2)
    assert [row[0]["generated_text"] for row in batch] == single
    # the assistant's class is looked up on the module transformers
    assisted = pipeline("text-generation", str(tmp_path), assistant_model=str(tmp_path), do_sample=False)
    assert assisted("the cat", max_new_tokens=3)[0]["generated_text"] == single[0]
