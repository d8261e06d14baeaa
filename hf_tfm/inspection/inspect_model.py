"""One inspection of a model on a text: everything that a page shows, as a `Report`."""

import dataclasses
from typing import Any

import torch

from ..modeling.modeling_tfm_encoder import TfmEncoderForMultipleChoice
from .head_scores import head_summary
from .input_attribution import TOLERANCE, integrated_gradients
from .knock_outs import knock_out_grid, parse_choice
from .loading import display_name, load_for_inspection
from .logit_attribution import attributions
from .model_costs import costs
from .model_facts import architecture_of, facts_of
from .model_state import inspected
from .patching import patch_grid
from .positions import position_schemes
from .predicting_heads import head_of
from .predictions import Predictions
from .recording import AttentionCall, Recording, StackRecording, record, stacked
from .report import AttentionMaps, Report, Sequence
from .stream import stream_growth
from .text_inputs import TextInputs, read_texts, token_texts

__all__ = ["make_report"]

NOT_PREDICTING = "a {} has no head that predicts tokens or labels."
# fields that need a head
OF_PREDICTION = ("prediction", "lens", "attributions", "inputs", "knock_outs", "patching")


def make_report(
    model: Any,
    tokenizer: Any = None,
    text: str | tuple[str, str] = "",
    target: str | None = None,
    *,
    position: int | None = None,
    knockout: str = "top:8",
    against: str | None = None,
    layers: list[int] | None = None,
    max_tokens: int | None = None,
    gradient_steps: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    add_special_tokens: bool = True,
) -> Report:
    """Inspects a model on a text.

    `model`: a model, ours or native, or the folder or Hub name of a checkpoint. `tokenizer`: default: that of the
    checkpoint. `text`: a text, or a pair of question and context. `target`: of an encoder-decoder the output text (it
    writes its own without one); of other heads the token or class to explain, by default the most probable.
    `position`: which token's prediction is explained (default: the last of a decoder, masks of a masked language
    model). `knockout`: "all", "top:N" or "none". `against`: another text with as many tokens, whose stream is patched
    in. `layers`: whose attention maps are kept, from 0 (default: all). `max_tokens`: see `read_texts`.
    `gradient_steps`: most steps of integrated gradients, 0 for none (default: fewer for longer texts). `dtype`: of the
    weights (default: that of the checkpoint). `name`: what the report calls the model. `add_special_tokens`: False for
    a text that has those of its tokenizer, as a chat template writes them.

    Raises ValueError for what cannot be read or explained. The model is left as it was."""
    parse_choice(knockout)
    loaded = load_for_inspection(model, dtype)
    tokenizer = loaded.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise ValueError(f"{name or display_name(model)} has no tokenizer; give one with tokenizer.")
    texts = read_texts(loaded.model, tokenizer, text, target, max_tokens, add_special_tokens)
    inspection = Inspection(loaded.model, tokenizer, texts, name or display_name(model))
    inspection.report.warnings[:0] = loaded.notes
    inspection.report.text = text if isinstance(text, str) else "\n\n".join(text)
    inspection.add_stacks(layers)
    inspection.add_costs()
    inspection.add_predictions(position, target, knockout, against, gradient_steps)
    return inspection.report


class Inspection:
    """A report in the making."""

    def __init__(self, model: Any, tokenizer: Any, texts: TextInputs, name: str) -> None:
        head = type(model).__name__
        # one text is no choice between several
        self.model = model.model if isinstance(model, TfmEncoderForMultipleChoice) else model
        self.tokenizer, self.texts = tokenizer, texts
        self.recording = record(self.model, self.texts.inputs)[0]
        self.report = Report(
            name,
            architecture_of(model),
            head,
            str(model.dtype).removeprefix("torch."),
            facts_of(model),
            [self.sequence(stack) for stack in self.recording.stacks.values()],
            [],
            warnings=self.texts.warnings,
        )

    def sequence(self, stack: StackRecording) -> Sequence:
        ids = stack.ids.tolist()  # pyright: ignore[reportOptionalMemberAccess]
        generated = 1 if stack.name == "target" and self.texts.generated else None
        return Sequence(stack.name, token_texts(self.tokenizer, ids), ids, generated)

    def add_stacks(self, layers: list[int] | None) -> None:
        """What every model has."""
        report, stacks = self.report, self.recording.stacks
        with inspected(self.model):
            for name, stack in stacks.items():
                for kind in dict.fromkeys(call.kind for call in stack.attentions):
                    keys = next(iter(stacks)) if kind == "cross" else name
                    report.attention.append(attention_maps(stack, kind, name, keys, layers))
        report.heads = head_summary(self.recording)
        report.streams = [stream_growth(self.recording, stack) for stack in stacks.values()]
        longest = max(len(sequence.ids) for sequence in report.sequences)
        report.positions = position_schemes(self.model, max(longest, 2))

    def add_costs(self) -> None:
        report = self.report
        report.cost_length = max(len(sequence.ids) for sequence in report.sequences)
        report.costs = costs(self.model, report.cost_batch, report.cost_length)

    def add_predictions(
        self, position: int | None, target: str | None, knockout: str, against: str | None, gradient_steps: int | None
    ) -> None:
        """What a head says, and why."""
        report, head = self.report, head_of(self.model, self.recording.inputs)
        if head is None:
            report.absent |= dict.fromkeys(OF_PREDICTION, NOT_PREDICTING.format(report.head))
            return
        found = Predictions(self.recording, head, self.tokenizer, self.texts, position)
        report.prediction = found.prediction()
        if found.is_distribution:
            report.lens = found.lens()
        else:
            report.absent["lens"] = "The logits of this head are no distribution over labels."
        chosen = [(row, found.label_id(row, target)) for row in found.explained()]
        report.attributions = [
            dataclasses.replace(each, position=found.position_of(row), label=found.name_of(row, label))
            for each, (row, label) in zip(attributions(self.recording, chosen), chosen, strict=True)
        ]
        row, label = chosen[0]
        where: dict[str, Any] = {"position": found.position_of(row), "label": found.name_of(row, label)}
        # what it may refuse comes before what takes long
        self.add_patching(found, row, label, against)
        report.knock_outs = [
            dataclasses.replace(each, **where) for each in knock_out_grid(self.recording, row, label, knockout)
        ]
        if not report.knock_outs:
            report.absent["knock_outs"] = 'Not asked for (knockout="none").'
        self.add_gradients(row, label, where, gradient_steps)

    def add_gradients(self, row: int, label: int, where: dict[str, Any], gradient_steps: int | None) -> None:
        report = self.report
        steps = max(32, min(256, 8192 // report.cost_length)) if gradient_steps is None else gradient_steps
        if not steps:
            report.absent["inputs"] = "Not asked for (gradient_steps=0)."
            return
        # a path from the mean vector, which is short, passes where a norm changes faster than any quadrature follows
        names = ("mask_token", "eos_token", "bos_token", "unk_token")
        name = next((name for name in names if getattr(self.tokenizer, name, None) is not None), None)
        begin = None if name is None else getattr(self.tokenizer, f"{name}_id")
        found = integrated_gradients(self.recording, row, label, begin, steps)
        baseline = found.baseline if name is None else f"the token {getattr(self.tokenizer, name)}"
        report.inputs = [dataclasses.replace(found, baseline=baseline, **where)]
        if found.completeness > TOLERANCE:
            report.warnings.append(
                f"Integrated gradients of {where['label']!r} sum to the change of the logit only within "
                f"{found.completeness:.0%} after {found.steps} steps; read them with care, or give more gradient_steps."
            )

    def add_patching(self, found: Predictions, row: int, label: int, against: str | None) -> None:
        report = self.report
        if against is None:
            report.absent["patching"] = "No other text was given (against)."
            return
        other = self.other_recording(against)
        other_label = int(found.head.logits_of(other.output)[0, row].argmax())
        name, other_name = found.name_of(row, label), found.name_of(row, other_label)
        answer = name if label == other_label else f"{name} instead of {other_name}"
        patching = patch_grid(self.recording, other, row, label, other_label)
        report.patching = dataclasses.replace(patching, other=against, label=answer)

    def other_recording(self, against: str) -> Recording:
        """The other text with the same target, so that the same prediction is compared."""
        inputs = dict(self.texts.inputs)
        beside = {"decoder_input_ids": inputs["decoder_input_ids"]} if "decoder_input_ids" in inputs else {}
        encoded = self.tokenizer(against, return_tensors="pt", add_special_tokens=self.texts.add_special_tokens)
        same = {name: encoded[name] for name in inputs if name in encoded}
        if same["input_ids"].shape != inputs["input_ids"].shape:
            raise ValueError(
                f"against has {same['input_ids'].shape[1]} tokens, the text {inputs['input_ids'].shape[1]}; patching "
                "puts tokens in each other's place, so choose a text with the same number."
            )
        return record(self.model, {**same, **beside})[0]


def attention_maps(stack: StackRecording, kind: str, name: str, keys: str, layers: list[int] | None) -> AttentionMaps:
    """The maps of some layers of a stack (default: all). Raises ValueError for a layer that is not there."""
    calls = stack.attentions_of(kind)
    count = len(calls)
    chosen = list(range(count)) if layers is None else [layer for layer in layers if layer < count]
    if not chosen:
        raise ValueError(f"layers={layers} must lie between 0 and {count - 1}.")
    calls = [calls[layer] for layer in chosen]
    return AttentionMaps(
        name,
        kind,
        name,
        keys,
        stacked([call.weights for call in calls]),
        stacked([call.missing() for call in calls]),
        stacked([value_norms(call) for call in calls]),
        stacked([call.visible for call in calls]),
        chosen,
    )


def value_norms(call: AttentionCall) -> torch.Tensor:
    """Length (H, S) of what each head writes for each key alone, before a gate: v W_O."""
    heads, keys, size = call.values().shape
    alone = call.value.new_zeros(heads, keys, heads * size)
    for head in range(heads):
        alone[head, :, head * size : (head + 1) * size] = call.values()[head]
    bias = call.module.o_proj(alone.new_zeros(1, heads * size))
    return (call.module.o_proj(alone) - bias).norm(dim=-1)
