"""Reports made without a model, for tests of the page."""

import numpy as np

from hf_tfm.inspection.report import InputAttribution, Patching, Prediction, Report, Sequence

from .synthetic_parts import (
    attention,
    attribution,
    costs,
    from_scores,
    head_scores,
    knock_out,
    positions,
    predictions,
    stream,
    tap_names,
    with_total,
)

ANIMAL = "The animal did not cross the street because it was too tired . The animal did not cross the street because it"
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "a\u202eb",
    "nul\0",
    "<b>",
    "\ud800",
    "\u2028",
    "&amp;",
    "",
    " ",
    "\n",
    "😀",
]


def single_stack(
    architecture: str, tokens: list[str], layers: int = 4, heads: int = 6, position: str = "rotary", sink: bool = False
) -> Report:
    causal = architecture == "decoder"
    text = Sequence("text", tokens, list(range(len(tokens))), len(tokens) - 3 if causal else None)
    maps = attention("text", "self", text, text, layers, heads, causal, sink)
    taps, shift = 2 * layers + 1, int(causal)
    words = list(dict.fromkeys(tokens))
    prediction, lens = predictions(tokens, words, taps, shift)
    last = len(tokens) - 1
    label = prediction.labels[last][0]
    inputs = np.random.default_rng(4).normal(0, 0.5, len(tokens))
    return Report(
        model=f"synthetic {architecture}",
        architecture=architecture,
        head="TfmDecoderForCausalLM" if causal else "TfmEncoderForMaskedLM",
        dtype="float32",
        facts={"residual_type": "pre" if causal else "post", "norm_type": "layer_norm", "position_type": position},
        sequences=[text],
        attention=[maps],
        prediction=prediction,
        lens=lens,
        attributions=[
            attribution(position, prediction.labels[position][0], [maps], "text") for position in (last, 2)
        ],
        inputs=[InputAttribution(last, label, {"text": inputs}, 32, 0.004, "padding tokens")],
        heads=[head_scores(maps)],
        knock_outs=[knock_out(maps, last, label)],
        streams=[stream("text", len(tokens), taps)],
        positions=[positions("text", position, heads)],
        costs=with_total(costs(layers, 96, 5000)),
        cost_batch=1,
        cost_length=len(tokens),
        absent={"patching": "--against TEXT compares this text with another one; none was given."},
    )  # fmt: skip


def decoder_report() -> Report:
    report = single_stack("decoder", [(" " if i else "") + word for i, word in enumerate(ANIMAL.split())])
    taps, length = report.streams[0].taps, len(report.sequences[0].tokens)
    recovered = np.random.default_rng(2).uniform(-0.1, 1, (len(taps), length)) ** 3
    report.patching = Patching("The engine did not cross the street because it", "text", taps, recovered, " was")
    return report


def encoder_report() -> Report:
    words = [
        "[CLS]",
        "the",
        "river",
        "[MASK]",
        "was",
        "steep",
        "and",
        "the",
        "bank",
        "gave",
        "us",
        "a",
        "loan",
        "[SEP]",
    ]
    return single_stack("encoder", words, position="learned", sink=True)


def classifier_report() -> Report:
    """An encoder with one prediction for the whole text, and no lens for each token."""
    report = encoder_report()
    labels, values = ["positive", "neutral", "negative"], np.array([[0.7, 0.2, 0.1]])
    report.head = "TfmEncoderForSequenceClassification"
    report.prediction = Prediction("Which class?", [None], [labels], values, np.log(values), [None])
    report.lens, report.inputs, report.knock_outs = None, [], []
    report.attributions = [attribution(None, "positive", report.attention, "text")]
    report.attributions[0].note = "The head is not linear: the logit is attributed to its input."
    report.absent |= {
        "lens": "A pooled head reads one vector, not the stream of each token.",
        "inputs": "Integrated gradients were not asked for.",
        "knock_outs": "--knockout none was given.",
    }
    return report


def seq2seq_report(
    source: list[str] | None = None, target: list[str] | None = None, layers: int = 3, heads: int = 4
) -> Report:
    letters = source or [*"March 12 , 2021", "</s>"]
    read = Sequence("source", letters, list(range(len(letters))))
    tokens = target or ["<s>", *"2021-03-12"]
    written = Sequence("target", tokens, list(range(len(tokens))), 1)
    maps = [
        attention("source", "self", read, read, layers, heads, causal=False),
        attention("target", "self", written, written, layers, heads, causal=True),
        attention("target", "cross", written, read, layers, heads, causal=False),
    ]
    taps = [name for tap in tap_names(2 * layers + 1) for name in (tap, tap.replace("attention", "cross-attention"))]
    taps = [name for i, name in enumerate(taps) if "attention" in name or i % 2 == 0]
    prediction, lens = predictions(tokens, list(dict.fromkeys(tokens)), len(taps), 1)
    lens.taps = taps
    last = len(tokens) - 2
    label = prediction.labels[last][0]
    random = np.random.default_rng(4)
    scores = {"source": random.normal(0, 0.5, len(read.tokens)), "target": random.normal(0, 0.5, len(tokens))}
    decoder_stream = stream("target", len(tokens), len(taps))
    decoder_stream.taps = taps
    return Report(
        model="synthetic encoder-decoder",
        architecture="encoder-decoder",
        head="TfmForSeq2SeqLM",
        dtype="bfloat16",
        facts={"residual_type": "pre", "norm_type": "rms_norm", "position_type": "alibi"},
        sequences=[read, written],
        attention=maps,
        prediction=prediction,
        lens=lens,
        attributions=[attribution(last, label, maps[1:], "target")],
        inputs=[InputAttribution(last, label, scores, 256, 0.03, "zero vectors")],
        heads=[head_scores(item) for item in maps],
        knock_outs=[knock_out(item, last, label) for item in maps],
        streams=[stream("source", len(read.tokens), 2 * layers + 1), decoder_stream],
        positions=[positions("source", "alibi", heads), positions("target", "alibi", heads)],
        costs=with_total(costs(layers, 64, 90, "source ") + costs(layers, 64, 0, "target ", cross=True)),
        cost_length=len(tokens),
        warnings=["Integrated gradients miss the logit by 3 % after 256 steps."],
        absent={"patching": "--against TEXT compares this text with another one; none was given."},
    )  # fmt: skip


def hostile_report() -> Report:
    """Tokens that would leave the page, if it took them for HTML or script."""
    report = single_stack("decoder", list(HOSTILE), layers=2, heads=2)
    report.model = HOSTILE[0]
    return report


def large_report(causal: bool = False, length: int = 512, layers: int = 12, heads: int = 12) -> Report:
    """The worst map of the size budget: full attention, scores of rank 64 and scale 1; all layers are the same."""
    report = single_stack("decoder" if causal else "encoder", [f"w{i}" for i in range(length)], layers, 1)
    query, key = np.random.default_rng(0).normal(size=(2, 1, heads, length, 64)).astype(np.float32)
    visible = np.tril(np.ones((length, length), bool)) if causal else np.ones((length, length), bool)
    maps = from_scores("text", "self", "text", "text", query @ key.swapaxes(-1, -2) / 8, visible)
    scores = head_scores(maps)
    scores.scores = {name: np.repeat(values, layers, axis=0) for name, values in scores.scores.items()}
    for name in ("weights", "missing", "value_norms", "visible"):
        setattr(maps, name, np.repeat(getattr(maps, name), layers, axis=0))
    label = report.attributions[0].label
    report.attention, report.heads = [maps], [scores]
    report.attributions = [attribution(length - 1, label, [maps], "text")]
    report.knock_outs = [knock_out(maps, length - 1, label)]
    return report
