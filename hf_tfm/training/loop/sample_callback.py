"""Inputs and what the model makes of them, for the eye: before, during and after training."""

import json
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from hf_tfm.cards import Sample

__all__ = ["SampleCallback"]

# Characters: an untrained model repeats itself as long as it may.
MAX_OUTPUT_CHARACTERS = 400
SAMPLES_FILE = "samples.jsonl"


class SampleCallback(TrainerCallback):
    """Asks the model the same few things at the start, at every evaluation and at the end; samples.jsonl keeps all."""

    def __init__(self, trainer: Any, inputs: list[Any]) -> None:
        self.trainer, self.inputs, self.objective = trainer, inputs, trainer.objective
        self.outputs_before = self.outputs()
        self.file = Path(str(trainer.args.output_dir)) / SAMPLES_FILE

    def outputs(self) -> list[str]:
        # Under tensor parallelism every process must take part in every forward pass.
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
        """Forget what an interrupted run wrote of steps that now come again."""
        if state.is_world_process_zero and self.file.is_file():
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.file.write_text("".join(kept), encoding="utf-8")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One output on the screen, all of them in the file."""
        if not self.trainer.is_in_train:
            return
        outputs = self.outputs()
        if not state.is_world_process_zero:
            return
        shown = self.objective.format_input(self.inputs[0])
        tqdm.write(f"  {shorten(shown)} -> {shorten(outputs[0])}")
        with self.file.open("a", encoding="utf-8") as file:
            for item, output in zip(self.inputs, outputs, strict=True):
                row = {"step": state.global_step, "input": self.objective.format_input(item), "output": output}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def samples(self) -> list[Sample]:
        """What the card shows: every input with the first and the present output."""
        told = zip(self.inputs, self.outputs_before, self.outputs(), strict=True)
        shown, wanted = self.objective.format_input, self.objective.reference
        return [Sample(shown(item), before, after, wanted(item)) for item, before, after in told]


def shorten(text: str, width: int = 90) -> str:
    words = " ".join(text.split())
    return words if len(words) <= width else f"{words[: width - 3]}..."
