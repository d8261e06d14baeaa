"""Checks an installed wheel from outside the repository: the package imports, registers its models, trains two steps
and saves a checkpoint with its code.

python wheel_alone.py FOLDER, where FOLDER holds the installed wheel."""

import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

import hf_tfm
from hf_tfm.inspection.page import SCRIPTS, WEB


def main(folder: str) -> None:
    if not Path(hf_tfm.__file__).is_relative_to(folder):
        raise SystemExit(f"hf_tfm was imported from {hf_tfm.__file__}, not from the wheel in {folder}")
    if not Path(hf_tfm.__file__).with_name("py.typed").exists():
        raise SystemExit("the wheel has no py.typed")
    missing = [name for name in ("page.html", "page.css", *SCRIPTS) if not (WEB / name).exists()]
    if missing:
        raise SystemExit(f"the wheel lacks files of the page: {missing}")
    config = AutoConfig.for_model(
        "tfm_decoder", vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = AutoModelForCausalLM.from_config(config)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 50, (8, 12))]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(out, max_steps=2, use_cpu=True, report_to="none", disable_tqdm=True)
        Trainer(model, arguments, train_dataset=rows).train()
        model.save_pretrained(out)
        AutoModelForCausalLM.from_pretrained(out)
        if not Path(out, "modeling_tfm_decoder.py").exists():
            raise SystemExit("save_pretrained wrote no code into the checkpoint")
    print(f"hf_tfm {hf_tfm.__version__}: the wheel imports, registers, trains and saves")


main(sys.argv[1])
