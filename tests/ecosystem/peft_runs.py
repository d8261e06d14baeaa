"""What `test_peft.py` runs in processes of their own."""

from typing import Any

import peft
import torch
from peft.utils import constants
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

EOS = 1
TOKENS = torch.tensor([[5, 17, 42, 8, EOS], [9, 4, 23, EOS, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
HEADS = {
    "CAUSAL_LM": (AutoModelForCausalLM, {"labels": TOKENS}),
    "SEQ_2_SEQ_LM": (AutoModelForSeq2SeqLM, {"labels": TOKENS}),
    "SEQ_CLS": (AutoModelForSequenceClassification, {"labels": torch.tensor([0, 1])}),
    "TOKEN_CLS": (AutoModelForTokenClassification, {"labels": torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 1, -100]])}),
    "QUESTION_ANS": (
        AutoModelForQuestionAnswering,
        {"start_positions": torch.tensor([0, 1]), "end_positions": torch.tensor([2, 3])},
    ),
    "FEATURE_EXTRACTION": (AutoModel, {}),
}


def load(checkpoints: Any, name: str, task: str) -> Any:
    """A model, with its weights that no checkpoint has drawn in the same way in every mode."""
    model = checkpoints.load(HEADS[task][0], name)
    torch.manual_seed(0)
    for child, module in model.named_children():
        if child in ("classifier", "score", "qa_outputs"):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter)
    return model


def loss_of(model: Any, task: str) -> torch.Tensor:
    # an answer may begin at padding, too, whose states differ
    mask = torch.ones_like(MASK) if task == "QUESTION_ANS" else MASK
    outputs = model(input_ids=TOKENS, attention_mask=mask, **HEADS[task][1])
    if task == "FEATURE_EXTRACTION":
        states = outputs[0][MASK.bool()]
        return (states * torch.linspace(-1, 1, states.numel()).view_as(states)).mean()
    return outputs.loss


def adapt(checkpoints: Any, name: str, task: str, kind: str, **options: Any) -> dict[str, Any]:
    """Two steps of training an adapter that is told nothing about the model, and its loss as saved and loaded."""
    model = load(checkpoints, name, task)
    forget_our_model_types()
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, getattr(peft, kind)(task_type=task, **options))
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer, losses = torch.optim.SGD(trained, lr=0.005), []
    for _ in range(2):
        loss = loss_of(adapted, task)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval().save_pretrained(checkpoints.workplace)
    loaded = peft.PeftModel.from_pretrained(load(checkpoints, name, task), checkpoints.workplace).eval()
    with torch.no_grad():
        saved = [loss_of(adapted, task).item(), loss_of(loaded, task).item()]
    targets = {name.rpartition(".")[2] for name in getattr(adapted.base_model, "targeted_module_names", [])}
    return {"losses": losses, "saved": saved, "targets": sorted(targets), "trained": sum(map(torch.numel, trained))}


def forget_our_model_types() -> None:
    """Leave PEFT's tables as they are where it is imported after the model was made."""
    tables = [table for table in vars(constants).values() if isinstance(table, dict)]
    for table in tables:
        for model_type in [key for key in table if str(key).startswith("tfm_")]:
            del table[model_type]


def adapt_all(checkpoints: Any, kind: str, **options: Any) -> Any:
    """Of a decoder, an encoder and an encoder-decoder, in this order; a classifier too."""
    models = {"llama": "CAUSAL_LM", "bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}
    return {name: adapt(checkpoints, name, task, kind, **options) for name, task in models.items()}


def lora(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "LoraConfig")


def dora(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "LoraConfig", use_dora=True)


def ia3(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "IA3Config")


def oft(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "OFTConfig", oft_block_size=4)


def layer_norm_tuning(checkpoints: Any) -> Any:
    return adapt(checkpoints, "llama", "CAUSAL_LM", "LNTuningConfig")


def prompt_tuning(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "PromptTuningConfig", num_virtual_tokens=3)


def p_tuning(checkpoints: Any) -> Any:
    return adapt_all(checkpoints, "PromptEncoderConfig", num_virtual_tokens=3, encoder_hidden_size=8)


def prefix_tuning(checkpoints: Any) -> Any:
    options = {"num_virtual_tokens": 3}
    without_head = adapt(checkpoints, "bert", "FEATURE_EXTRACTION", "PrefixTuningConfig", **options)
    return {**adapt_all(checkpoints, "PrefixTuningConfig", **options), "encoder": without_head}


def prefix_tuning_classifiers(checkpoints: Any) -> Any:
    rows = [("llama", "SEQ_CLS"), ("bert", "TOKEN_CLS"), ("bert", "QUESTION_ANS")]
    return {f"{name} {task}": adapt(checkpoints, name, task, "PrefixTuningConfig", num_virtual_tokens=3)
            for name, task in rows}  # fmt: skip


def prefix_tuning_seq2seq_classifier(checkpoints: Any) -> Any:
    return adapt(checkpoints, "t5", "SEQ_CLS", "PrefixTuningConfig", num_virtual_tokens=3)


def prefix_tuning_experts(checkpoints: Any) -> Any:
    return adapt(checkpoints, "experts", "CAUSAL_LM", "PrefixTuningConfig", num_virtual_tokens=3)


def all_linear(checkpoints: Any) -> Any:
    """On every kind of head. For these two PEFT adapts the head as well, and then refuses to save it, unless it is
    named."""
    heads = {"SEQ_CLS": {}, "TOKEN_CLS": {"modules_to_save": ["classifier"]},
             "QUESTION_ANS": {"modules_to_save": ["qa_outputs"]}}  # fmt: skip
    return {
        task: adapt(checkpoints, "bert", task, "LoraConfig", target_modules="all-linear", **options)
        for task, options in heads.items()
    }
