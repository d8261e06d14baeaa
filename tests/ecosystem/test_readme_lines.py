"""README's lines on other tools run as they stand there."""

import re

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

import hf_tfm  # noqa: F401  registers the classes
from tests.documents import README

SECTION = README.read_text(encoding="utf-8").split("## Other tools\n")[1].split("\n## ")[0]
# tool -> its line
LINES = {
    tool: line
    for tool, line in re.findall(r"^\| ([^|]+) \| `([^`]+)`", SECTION, re.MULTILINE)
    if not line.startswith("hf-tfm ")
}
MODULES = {"TRL": "trl", "PEFT": "peft", "ONNX Runtime": "onnxruntime"}


@pytest.mark.parametrize("tool", LINES)
def test_line_runs(tool, checkpoints, tmp_path, monkeypatch):
    module = MODULES.get(tool, tool.replace("-", "_"))
    names = {module: pytest.importorskip(module)}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-bert").symlink_to(checkpoints / "ours" / "bert")
    if tool == "ONNX Runtime":
        from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

        names |= {"OnnxConfig": OnnxConfig, "OnnxExporter": OnnxExporter}
    if tool == "TRL":
        names["args"] = names["trl"].SFTConfig(str(tmp_path), use_cpu=True, max_steps=1, report_to="none")
    folder = checkpoints / "ours" / "llama"
    names["model"], names["tokenizer"] = (
        auto.from_pretrained(folder) for auto in (AutoModelForCausalLM, AutoTokenizer)
    )
    names["rows"] = Dataset.from_list([{"text": "the quick brown fox jumps"}] * 4)
    assert eval(LINES[tool], names) is not None
