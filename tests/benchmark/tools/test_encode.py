"""`hf-tfm bench encode` from end to end, on a tiny encoder."""

import json
import sys

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from hf_tfm.benchmark.harness.inference_engines import ENGINES
from hf_tfm.benchmark.tools import encode

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_tfm.benchmark.harness.report.gemm_flops_per_second", lambda width, dtype, device: 1e9)
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "bert")
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["[UNK]", *WORDS])}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[UNK]").save_pretrained(
        tmp_path / "bert"
    )
    lines = [" ".join(WORDS[start : start + 3 + start % 9]) for start in range(12)]
    (tmp_path / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "bert"


def run(checkpoint, capsys, *engines):
    texts, path = checkpoint.with_name("texts.txt"), checkpoint.with_name("report.json")
    options = ["--texts", str(texts), "--batch_size", "4", "--batches", "2", "--rounds", "2", "--json", str(path)]
    encode.main([str(checkpoint), *options, "--engines", *engines])
    return json.loads(path.read_text()), capsys.readouterr().out


def test_ours_is_compared_with_the_native_class_in_both_orders(checkpoint, capsys):
    report, printed = run(checkpoint, capsys)
    assert [result["case"] for result in report["results"]] == ["as they come", "sorted by length"]
    assert all(result["difference"] < 1e-4 for result in report["results"])
    assert {model["model"] for model in report["models"]} == {"native", "ours", "ours bf16 weights", "ours int8"}
    cosines = {model["model"]: float(model["columns"]["least cosine to native"]) for model in report["models"]}
    assert cosines["ours"] == 1
    assert cosines["ours int8"] > 0.99
    assert "least cosine to native" in printed


def test_too_few_texts_are_refused_before_anything_is_loaded(checkpoint):
    with pytest.raises(ValueError, match=r"12 texts, but --batches x --batch_size = 256"):
        encode.main([str(checkpoint), "--texts", str(checkpoint.with_name("texts.txt")), "--json", "/dev/null"])


@pytest.mark.ecosystem
def test_engines_of_the_same_weights(checkpoint, capsys):
    for module in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(module)
    report, _ = run(checkpoint, capsys, *ENGINES)
    differences = {result["peer"]: result["difference"] for result in report["results"]}
    assert max(differences["onnxruntime"], differences["openvino"]) < 1e-4
    assert differences["onnxruntime-int8"] is None


def test_an_engine_that_is_not_installed_is_named_with_its_command(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr("hf_tfm.benchmark.tools.encode.export_onnx", lambda encoder, path: path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match="pip install openvino"):
        run(checkpoint, capsys, "openvino")
