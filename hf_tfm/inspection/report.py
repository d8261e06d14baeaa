"""What one inspection holds: plain arrays that the page, the JSON file and the pictures are made from.

Legend: L layers, H heads, T queries, S keys, P taps, k top tokens. Layers and heads count from 0 here; the page shows
them from 1. Padding is left out before anything is stored.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "AttentionMaps",
    "Attribution",
    "HeadScores",
    "InputAttribution",
    "KnockOut",
    "Lens",
    "Part",
    "Patching",
    "PositionScheme",
    "Prediction",
    "Report",
    "Row",
    "Sequence",
    "Stream",
]

TITLE_CHARACTERS = 80


@dataclass
class Sequence:
    """The tokens of one stack. `name`: "text" for an encoder or a decoder, "source" and "target" for an
    encoder-decoder. `generated`: index of the first token that the model wrote itself, None if it wrote none."""

    name: str
    tokens: list[str]
    ids: list[int]
    generated: int | None = None


@dataclass
class AttentionMaps:
    """Attention weights of one kind over all layers of a stack, from the kernel that the recording ran.

    `weights` (L, H, T, S): rows sum to 1 - `missing`. `missing` (L, H, T): what a learned sink takes, zeros without.
    `value_norms` (L, H, S): length of v_k W_O of each key's value as the head writes it, so weight x norm is the
    value-weighted map (Kobayashi et al. 2020, arXiv:2004.10102). `visible` (L, T, S), boolean: what the mask lets
    through. `layers`: which layers of the stack the L maps are of; empty: all."""

    stack: str
    kind: str  # "self" or "cross"
    queries: str
    keys: str
    weights: np.ndarray
    missing: np.ndarray
    value_norms: np.ndarray
    visible: np.ndarray
    layers: list[int] = field(default_factory=list)


@dataclass
class Prediction:
    """What the head says, position by position, or once for the whole text (`positions` is then [None]).

    `labels` (n, k): tokens or class names, most probable first; `probabilities` (n, k); `logits` (n, k). `question`:
    the sentence over the view ("Which token comes next?", "Which class?", "Which word stands at the mask?").
    `actual` (n,): the label that really follows, None where it is not known. A head for question answering has two
    rows without position, where the answer starts and where it ends, and its labels are tokens with their number.
    Probabilities are NaN for a regression, and independent of each other for several classes at once."""

    question: str
    positions: list[int | None]
    labels: list[list[str]]
    probabilities: np.ndarray
    logits: np.ndarray
    actual: list[str | None]


@dataclass
class Lens:
    """The head applied to the stream after every half block, through the model's own final norm and head.

    `taps` (P,): "embeddings", "1 attention", "1 cross-attention", "1 feed-forward", ... `labels` (P, n, k),
    `probabilities` (P, n, k), `entropy` (P, n) in nats, `divergence` (P, n): KL(final || tap) in nats; n as in
    `Prediction`. `gap`: largest difference between the last tap's logits and the model's.
    nostalgebraist 2020, interpreting GPT: the logit lens."""

    taps: list[str]
    labels: list[list[list[str]]]
    probabilities: np.ndarray
    entropy: np.ndarray
    divergence: np.ndarray
    gap: float


@dataclass
class Part:
    """One addend of a logit. `kind`: "embedding", "head", "feed-forward", "bias" (value and output biases, norm
    biases), "head bias" (of a head that is not linear: what its linear part leaves over); `name` says which; `layer`
    and `head` where they apply; `attention`: "self" or "cross" for a head."""

    kind: str
    value: float
    layer: int | None = None
    head: int | None = None
    attention: str | None = None
    stack: str | None = None
    name: str = ""


@dataclass
class Attribution:
    """An exact sum for one logit before cap and scale: `parts` add up to `logit`; `gap` is what is left over.

    `position`, `label`: which logit. `sources`: key token contributions of each head, in the order of the head parts
    (one array (S,) each, summing to the part's value; value biases belong to no head). `cap`, `scale`: of the head,
    None and 1.0 without; `final_logit` = cap tanh(scale logit / cap). `note`: set where the head is not linear and its
    input is attributed instead (its direction: the gradient of the logit)."""

    position: int | None
    label: str
    logit: float
    final_logit: float
    gap: float
    parts: list[Part]
    sources: list[np.ndarray]
    cap: float | None = None
    scale: float = 1.0
    note: str = ""


@dataclass
class InputAttribution:
    """Integrated gradients of a logit to the input tokens of each sequence.   Sundararajan et al. 2017,
    arXiv:1703.01365. `scores`: sequence name -> (T,). `steps` of Gauss-Legendre quadrature; `completeness`: relative
    error of sum(scores) = F(x) - F(baseline); `baseline` says which."""

    position: int | None
    label: str
    scores: dict[str, np.ndarray]
    steps: int
    completeness: float
    baseline: str


@dataclass
class HeadScores:
    """Scores of every head, by their definitions on the rows where they are defined; NaN where none is.

    `scores`: name -> (L, H); names: "distance", "entropy" (divided by the log of the number of visible keys, so that 1
    is uniform), "previous token", "next token", "induction", "first token", "sink" (what a learned sink takes).
    `rows`: name -> number of rows that the mean is over. `random_induction` (L, H): induction on a seeded random
    sequence that is repeated, kept apart from the user's text; None where it was not run."""

    stack: str
    attention: str
    scores: dict[str, np.ndarray]
    rows: dict[str, int]
    random_induction: np.ndarray | None = None


@dataclass
class KnockOut:
    """What changes when one part is set to zero: `logit_change` (L, H) of the predicted token, without minus whole;
    `divergence` (L, H) KL(whole || without) in nats; `mlp_logit_change` (L,), `mlp_divergence` (L,). NaN where it was
    not run."""

    stack: str
    attention: str
    position: int | None
    label: str
    logit_change: np.ndarray
    divergence: np.ndarray
    mlp_logit_change: np.ndarray
    mlp_divergence: np.ndarray


@dataclass
class Patching:
    """The stream of another text, put into this one: `recovered` (P, T) is the part of the logit difference that
    patching one tap at one position brings over, 0 none, 1 all.   Meng et al. 2022, arXiv:2202.05262."""

    other: str
    stack: str
    taps: list[str]
    recovered: np.ndarray
    label: str


@dataclass
class Stream:
    """How the residual stream of a stack grows. `taps` (P,), `norms` (P, T): length of each token's vector;
    `writes` (P - 1, T): length of what each branch adds; `cosines` (P - 1, T): cosine between what is added and the
    stream before; `gap`: relative largest difference between the embeddings plus all writes and the last tap."""

    stack: str
    taps: list[str]
    norms: np.ndarray
    writes: np.ndarray
    cosines: np.ndarray
    gap: float


@dataclass
class PositionScheme:
    """How this model tells order. `kind`: value of `position_type`; `sentence`: what it does, with its numbers;
    `arrays`: what the page draws, by name ("table similarity" (n, n), "frequencies" (d,), "slopes" (H,),
    "bias by distance" (H, n) with "distances" (n,))."""

    stack: str
    kind: str
    sentence: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Row:
    """One part of the model and what it costs. `name`: "embeddings", "1 attention", "1 cross-attention",
    "1 feed-forward", "1 norms", ..., "final norm", "head", after "source " or "target " in an encoder-decoder; the last
    row is "total". Bytes at the dtype of the weights, for `Report.cost_batch` sequences of `Report.cost_length` tokens
    (source and target, each). `flops_dense` counts every query-key pair, as torch's FlopCounterMode does;
    `flops_causal` only those that the mask lets through; both per token of the forward pass."""

    name: str
    parameters: int
    flops_dense: float
    flops_causal: float
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    cache_bytes: int
    activation_bytes: int


@dataclass
class Report:
    """Everything that one inspection found. A part that this model or head does not have is None or empty, and
    `absent` says why, by the name of the field."""

    model: str
    architecture: str  # "encoder", "decoder" or "encoder-decoder"
    head: str  # class name
    dtype: str
    facts: dict[str, str]  # fields of the configuration that a reader wants to see: "residual_type", "norm_type", ...
    sequences: list[Sequence]
    attention: list[AttentionMaps]
    prediction: Prediction | None = None
    lens: Lens | None = None
    attributions: list[Attribution] = field(default_factory=list)
    inputs: list[InputAttribution] = field(default_factory=list)
    heads: list[HeadScores] = field(default_factory=list)
    knock_outs: list[KnockOut] = field(default_factory=list)
    patching: Patching | None = None
    streams: list[Stream] = field(default_factory=list)
    positions: list[PositionScheme] = field(default_factory=list)
    costs: list[Row] = field(default_factory=list)
    cost_batch: int = 1
    cost_length: int = 0
    warnings: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    text: str = ""  # what was read, a pair as two paragraphs

    @property
    def title(self) -> str:
        """The model, its architecture and the beginning of the text in one line of printable characters."""
        title = f"{self.model} ({self.architecture})" + (f": {self.text}" if self.text else "")
        line = " ".join("".join(char if char.isprintable() else " " for char in title).split())
        return line if len(line) <= TITLE_CHARACTERS else f"{line[: TITLE_CHARACTERS - 3]}..."
