"""What `test_interpretability.py` runs in processes of their own."""

from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification


def make_batch() -> dict[str, torch.Tensor]:
    """Two rows of seven tokens, the second with two of padding."""
    ids = torch.randint(2, 300, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, -2:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def captum(checkpoints: Any) -> Any:
    """Integrated gradients of each token for the largest logit after the last, in a padded batch."""
    from captum.attr import LayerIntegratedGradients

    model, batch = checkpoints.load(AutoModelForCausalLM).eval(), make_batch()

    def score(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask).logits[:, 4].max(-1).values

    gradients = LayerIntegratedGradients(score, model.get_input_embeddings())
    baseline = torch.full_like(batch["input_ids"], 2)
    attributions, errors = gradients.attribute(
        batch["input_ids"], baseline, additional_forward_args=(batch["attention_mask"],), n_steps=8,
        return_convergence_delta=True,
    )  # fmt: skip
    return {"tokens": attributions.sum(-1).tolist(), "errors": errors.tolist()}


def captum_classifier(checkpoints: Any) -> Any:
    """Occlusion of tokens for a class; the classifier's weights are drawn anew, so their sum is set."""
    from captum.attr import FeatureAblation

    model, batch = checkpoints.load(AutoModelForSequenceClassification, "bert").eval(), make_batch()
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))

    def score(ids: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=batch["attention_mask"]).logits[:, 1]

    return FeatureAblation(score).attribute(batch["input_ids"], baselines=2).tolist()


def nnsight(checkpoints: Any) -> Any:
    """Hidden states after the first block, and the logits where they are set to zero, both by nnsight's trace."""
    from nnsight import NNsight

    model = NNsight(checkpoints.load(AutoModelForCausalLM).eval())
    batch = {name: values[:1] for name, values in make_batch().items()}
    with torch.no_grad():
        with model.trace(**batch):
            states = model.model.layers[0].output.save()
        with model.trace(**batch):
            model.model.layers[0].output[:] = 0
            logits = model.output.logits.save()
    return {"states": states.tolist(), "logits": logits[0, -1].tolist()}


def bertviz(checkpoints: Any) -> Any:
    """The maps that bertviz shows, from a padded batch: real tokens attend to real tokens alone."""
    from bertviz import head_view
    from bertviz.util import format_attention

    found = {}
    for name, auto_class in {"bert": AutoModel, "llama": AutoModelForCausalLM}.items():
        model = checkpoints.load(auto_class, name, attn_implementation="eager").eval()
        with torch.no_grad():
            maps = model(**make_batch(), output_attentions=True).attentions
        html = head_view(tuple(layer[1:] for layer in maps), list("abcdefg"), html_action="return")
        assert "attention" in html.data, name
        found[name] = {
            "shape": list(format_attention(tuple(layer[1:] for layer in maps)).shape),
            "maps": torch.stack(maps)[:, 1, :, :5].tolist(),
        }
    return found


def transformer_lens(checkpoints: Any) -> Any:
    """TransformerLens' bridge over a checkpoint; one of ours, which it refuses, goes to its native family first. The
    conversion is done by hf_tfm, so there is none in a process without it."""
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    tokenizer, refused = checkpoints.load(AutoTokenizer), ""
    model, folder = checkpoints.load(AutoModelForCausalLM).eval(), checkpoints.folder()
    options = {"tokenizer": tokenizer, "device": "cpu", **checkpoints.options}
    if checkpoints.mode != "native":
        try:
            TransformerBridge.boot_transformers(folder, hf_model=model, **options)
        except ValueError as error:
            refused = str(error)
    if checkpoints.mode == "remote":
        return {"refused": refused}
    if checkpoints.mode == "package":
        from hf_tfm import to_native

        model, folder = to_native(model), f"{checkpoints.workplace}/native"
        model.save_pretrained(folder)
    ids = make_batch()["input_ids"][:1]
    with torch.no_grad():
        wanted = model(ids).logits
        bridge = TransformerBridge.boot_transformers(folder, hf_model=model, **options)
        logits, cache = bridge.run_with_cache(ids)
    pattern = list(cache["blocks.0.attn.hook_pattern"].shape)
    return {"difference": float((logits - wanted).abs().max()), "pattern": pattern, "refused": refused}
