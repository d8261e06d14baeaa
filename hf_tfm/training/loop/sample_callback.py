"""Outputs of the model for a few inputs, before, during and after training."""

import json
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from hf_tfm.cards import Sample

__all__ = ["SampleCallback"]

# An untrained model repeats itself up to its longest output.
MAX_OUTPUT_CHARACTERS = 400
SAMPLES_FILE = "samples.jsonl"


class SampleCallback(TrainerCallback):
    """Computes outputs for the same inputs at the start, at every evaluation and at the end, and saves those of the
    evaluations in samples.jsonl."""

    def __init__(self, trainer: Any, inputs: list[Any]) -> None:
        self.trainer, self.inputs, self.objective = trainer, inputs, trainer.objective
        self.outputs_before = self.outputs()
        self.file = Path(str(trainer.args.output_dir)) / SAMPLES_FILE

    def outputs(self) -> list[str]:
        # in every process, because all of them take part in each forward pass under tensor parallelism
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        with self.trainer.ema_weights():
            outputs = [
                self.objective.predict_sample(model, self.trainer.processing_class, item) for item in self.inputs
            ]
        return [
            output if len(output) <= MAX_OUTPUT_CHARACTERS else f"{output[:MAX_OUTPUT_CHARACTERS]} ..."
            for output in outputs
        ]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Delete the samples of steps that a resumed run repeats."""
        if state.is_world_process_zero and self.file.is_file():
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.file.write_text("".join(kept), encoding="utf-8")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print the first output and save all of them."""
        if not self.trainer.is_in_train:
            return
        outputs = self.outputs()
        if not state.is_world_process_zero:
            return
        first_input = self.objective.format_input(self.inputs[0])
        tqdm.write(f"  {shorten(first_input)} -> {shorten(outputs[0])}")
        with self.file.open("a", encoding="utf-8") as file:
            for item, output in zip(self.inputs, outputs, strict=True):
                row = {"step": state.global_step, "input": self.objective.format_input(item), "output": output}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def samples(self) -> list[Sample]:
        """Every input with its first output, its current output and its reference, for the model card."""
        format_input, reference = self.objective.format_input, self.objective.reference
        rows = zip(self.inputs, self.outputs_before, self.outputs(), strict=True)
        return [Sample(format_input(item), before, after, reference(item)) for item, before, after in rows]


def shorten(text: str, width: int = 90) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."
