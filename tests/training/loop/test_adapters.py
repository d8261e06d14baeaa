"""Adapters: PEFT finds the layers of our models, trains only adapter and head, and saves the adapter or the merged
model."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import train
from hf_tfm.modeling.configuration_tfm import TfmEncoderConfig
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForMaskedLM
from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.loop.adapters import add_adapter
from hf_tfm.training.objectives import OBJECTIVES
from tests.grid import make
from tests.training.tiny import make_tiny

pytestmark = pytest.mark.xdist_group("train")

peft = pytest.importorskip("peft")

ROWS = [{"text": f"{word} number {i}", "label": word} for i in range(40) for word in ("good", "bad")]
SHORT = (
    "--max_steps 4 --logging_steps 1 --eval_steps 4 --save_steps 2 --warmup_steps 0 --per_device_train_batch_size 4 "
    "--max_length 32 --optimizer adamw"
).split()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint with a tokenizer, and a file of training data."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer([row["text"] for row in ROWS], 300, 32, style="pair")
    torch.manual_seed(0)
    config = TfmEncoderConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    TfmEncoderForMaskedLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return folder


def run(base, output, monkeypatch, *more):
    data = ["--task", "sequence-classification", "--train_file", str(base / "rows.jsonl")]
    arguments = [*data, "--init_from", str(base / "model"), "--output_dir", str(output), *SHORT, "--peft", "lora"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, *more])
    train.main()


def logits(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return model(**tokenizer(["good number 3", "bad number 5"], return_tensors="pt")).logits


@pytest.mark.parametrize("architecture", ["encoder", "decoder", "seq2seq"])
def test_peft_knows_our_model_types(architecture):
    adapted = peft.get_peft_model(make(architecture), peft.LoraConfig())
    names = {name.rsplit(".lora_A", 1)[0].rsplit(".", 1)[-1] for name, _ in adapted.named_modules() if "lora_A" in name}
    assert names == {"q_proj", "v_proj"}


@pytest.mark.parametrize("task", OBJECTIVES)
def test_the_head_of_every_task_is_trained_beside_the_adapter(task):
    """A new head that is frozen or not saved is lost. PEFT also added adapters to some heads, and then refused to save
    them. The head of a language model comes with the checkpoint."""
    tiny = make_tiny(task)
    model = tiny.model()
    if model.get_output_embeddings() is not None:
        pytest.skip("the task has the head of a language model")
    head = [name for name, _ in model.named_parameters() if not name.startswith(f"{model.base_model_prefix}.")]
    adapted = add_adapter(model, ModelArguments(peft="lora", init_from="somewhere"), tiny.objective)
    # an embedding is pooled without weights
    assert head or task == "embeddings"
    saved = set(peft.get_peft_model_state_dict(adapted))
    assert not [name for name in head if f"base_model.model.{name}" not in saved]
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len([name for name in trained if "lora_" not in name]) == len(head)


def test_a_saved_adapter_is_small_and_loads_on_its_base_model(base, tmp_path, monkeypatch):
    run(base, tmp_path / "out", monkeypatch)
    saved = load_file(tmp_path / "out/adapter_model.safetensors")
    assert {"lora_A", "lora_B", "classifier"} == {
        kind for name in saved for kind in ("lora_A", "lora_B", "classifier") if kind in name
    }
    assert not (tmp_path / "out/model.safetensors").exists()
    assert torch.isfinite(logits(tmp_path / "out")).all()


def test_the_merged_model_equals_base_model_and_adapter(base, tmp_path, monkeypatch):
    run(base, tmp_path / "adapter", monkeypatch)
    run(base, tmp_path / "merged", monkeypatch, "--merge_adapter")
    assert not (tmp_path / "merged/adapter_model.safetensors").exists()
    torch.testing.assert_close(logits(tmp_path / "merged"), logits(tmp_path / "adapter"), rtol=1e-5, atol=1e-6)


def test_files_of_an_adapter_that_is_merged_do_not_name_the_base_model(base, tmp_path):
    """They are pushed until the run ends, and the base model may be a folder."""
    model = TfmEncoderForMaskedLM.from_pretrained(base / "model")
    args = ModelArguments(init_from=str(base / "model"), peft="lora", merge_adapter=True)
    add_adapter(model, args, make_tiny("masked-lm").objective).save_pretrained(tmp_path)
    assert (tmp_path / "adapter_config.json").exists()
    assert not [file for file in tmp_path.iterdir() if str(base).encode() in file.read_bytes()]


def test_an_adapter_on_random_weights_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["train.py", "--peft", "lora", "--output_dir", str(tmp_path / "out"), "--optimizer", "adamw"]
    )
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 2
    assert "--init_from" in capsys.readouterr().err
