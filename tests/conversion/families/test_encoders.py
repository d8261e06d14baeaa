"""Encoders: what parity does not show."""

from pathlib import Path

import torch

from hf_tfm.conversion import from_native, to_native
from tests.conversion.tiny import SIZES, Case, padded_batch, tiny_native


@torch.no_grad()
def test_the_task_that_ernie_adds_to_every_token_becomes_part_of_the_token_types() -> None:
    native = tiny_native("ernie", Case(SIZES | {"use_task_id": True, "task_type_vocab_size": 3}), "masked-lm")
    ours = from_native(native, verify=False)
    back = to_native(ours, verify=False)
    assert not back.config.use_task_id
    batch = padded_batch(native.config)
    batch["token_type_ids"] = torch.arange(13).expand(3, -1) % 2
    expected, *found = (model(**batch).logits[batch["attention_mask"] > 0] for model in (native, ours, back))
    assert all(torch.allclose(logits, expected, rtol=0, atol=1e-5 * expected.abs().max()) for logits in found)


def test_a_classifier_of_three_classes_becomes_a_head_of_spans(tmp_path: Path) -> None:
    tiny_native("bert", Case(SIZES), "sequence-classification").save_pretrained(tmp_path)
    ours = from_native(str(tmp_path), "question-answering")
    assert ours.qa_outputs.out_features == ours.config.num_labels == 2
