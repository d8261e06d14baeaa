"""Inputs and what the model makes of them, for the eye: before, during and after training."""

import json
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from hf_tfm.cards import Sample

__all__ = ["Showing"]

# Characters: an untrained model repeats itself as long as it may.
LONGEST_ANSWER = 400
SAMPLES_FILE = "samples.jsonl"


class Showing(TrainerCallback):
    """Asks the model the same few things at the start, at every evaluation and at the end; samples.jsonl keeps all."""

    def __init__(self, trainer: Any, asked: list[Any]) -> None:
        self.trainer, self.asked, self.objective = trainer, asked, trainer.objective
        self.before = self.answers()
        self.file = Path(str(trainer.settings.output_dir)) / SAMPLES_FILE

    def answers(self) -> list[str]:
        # Under tensor parallelism every process must take part in every forward pass.
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        with self.trainer.averaged():
            answers = [self.objective.answer(model, self.trainer.processing_class, item) for item in self.asked]
        return [answer if len(answer) <= LONGEST_ANSWER else f"{answer[:LONGEST_ANSWER]} ..." for answer in answers]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget what an interrupted run wrote of steps that now come again."""
        if state.is_world_process_zero and self.file.is_file():
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= state.global_step]
            self.file.write_text("".join(kept), encoding="utf-8")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One answer on the screen, all of them in the file."""
        if not self.trainer.is_in_train:
            return
        answers = self.answers()
        if not state.is_world_process_zero:
            return
        shown = self.objective.shown(self.asked[0])
        tqdm.write(f"  {in_one_line(shown)} -> {in_one_line(answers[0])}")
        with self.file.open("a", encoding="utf-8") as file:
            for item, answer in zip(self.asked, answers, strict=True):
                row = {"step": state.global_step, "input": self.objective.shown(item), "output": answer}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def samples(self) -> list[Sample]:
        """What the card shows: every input with the first and the present answer."""
        told = zip(self.asked, self.before, self.answers(), strict=True)
        shown, wanted = self.objective.shown, self.objective.wanted
        return [Sample(shown(item), before, after, wanted(item)) for item, before, after in told]


def in_one_line(text: str, width: int = 90) -> str:
    words = " ".join(text.split())
    return words if len(words) <= width else f"{words[: width - 3]}..."
