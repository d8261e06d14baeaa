"""Parts of reports made without a model: heads that look at the previous token, at the first one, at the same token
before, or everywhere; sums that add up."""

from collections.abc import Sequence as Many

import numpy as np

from hf_tfm.inspection.report import (
    AttentionMaps,
    Attribution,
    HeadScores,
    KnockOut,
    Lens,
    Part,
    PositionScheme,
    Prediction,
    Row,
    Sequence,
    Stream,
)

KINDS = ("previous", "first", "same", "near", "uniform")


def pattern(kind: str, tokens: Many[str], keys: Many[str], random: np.random.Generator) -> np.ndarray:
    """Scores (T, S) before the softmax of a head of this kind."""
    query, key = np.arange(len(tokens))[:, None], np.arange(len(keys))[None, :]
    scores = random.normal(0, 0.7, (len(tokens), len(keys)))
    if kind == "previous":
        scores += 7.0 * (key == query - 1)
    elif kind == "first":
        scores += 5.0 * (key == 0)
    elif kind == "same":
        same = np.array([[a == b for b in keys] for a in tokens])
        scores += 6.0 * (np.roll(same, 1, axis=1) & (key < query))
    elif kind == "near":
        scores -= 0.6 * abs(query * len(keys) / len(tokens) - key)
    return scores


def attention(
    stack: str, kind: str, queries: Sequence, keys: Sequence, layers: int, heads: int, causal: bool, sink: bool = False
) -> AttentionMaps:
    random = np.random.default_rng(len(stack) + len(kind))
    length, width = len(queries.tokens), len(keys.tokens)
    visible = np.tril(np.ones((length, width), bool)) if causal else np.ones((length, width), bool)
    scores = np.empty((layers, heads, length, width), np.float32)
    for layer in range(layers):
        for head in range(heads):
            name = KINDS[(layer + 2 * head) % len(KINDS)]
            scores[layer, head] = pattern(name, queries.tokens, keys.tokens, random)
    return from_scores(stack, kind, queries.name, keys.name, scores, visible, sink)


def from_scores(
    stack: str, kind: str, queries: str, keys: str, scores: np.ndarray, visible: np.ndarray, sink: bool = False
) -> AttentionMaps:
    """Softmax over the visible keys, and a sink of score 0 where there is one."""
    layers, heads, _, width = scores.shape
    scores = np.where(visible, scores, -np.inf)
    highest = np.maximum(scores.max(-1, keepdims=True), 0)
    exponents = np.exp(scores - highest)
    extra = np.exp(-highest) if sink else 0 * highest
    weights = exponents / (exponents.sum(-1, keepdims=True) + extra)
    norms = np.random.default_rng(7).uniform(0.2, 2.0, (layers, heads, width)).astype(np.float32)
    norms[..., 0] = 0.05
    missing = (1 - weights.sum(-1)).clip(0).astype(np.float32) if sink else np.zeros(weights.shape[:-1], np.float32)
    masks = np.repeat(visible[None], layers, axis=0)
    return AttentionMaps(stack, kind, queries, keys, weights.astype(np.float32), missing, norms, masks)


def predictions(tokens: list[str], words: list[str], taps: int, shift: int) -> tuple[Prediction, Lens]:
    """A prediction for every token and a lens that becomes sure with depth; `shift`: 1 where the next is predicted."""
    random = np.random.default_rng(3)
    length, count = len(tokens), min(10, len(words))
    truth = [tokens[i + shift] if i + shift < length else None for i in range(length)]
    logits = np.sort(random.normal(0, 1, (taps, length, count)), axis=-1)[..., ::-1].copy()
    logits[..., 0] += np.linspace(0, 6, taps)[:, None] * random.uniform(0.2, 1.2, length)
    probabilities = np.exp(logits) / (np.exp(logits).sum(-1, keepdims=True) + 2)
    labels = []
    for tap in range(taps):
        rows = []
        for index in range(length):
            row = [words[i] for i in random.permutation(len(words))[:count]]
            if truth[index] in row:
                row.remove(truth[index])
                row.insert(0 if random.random() < tap / taps else 2, truth[index])
            rows.append(row[:count])
        labels.append(rows)
    entropy = -(probabilities * np.log(probabilities)).sum(-1)
    divergence = (np.linspace(1, 0, taps)[:, None] ** 1.5) * random.uniform(2, 6, length)
    question = "Which token comes next?" if shift else "Which token stands here?"
    final = Prediction(question, list(range(length)), labels[-1], probabilities[-1], logits[-1], truth)
    return final, Lens(tap_names(taps), labels, probabilities, entropy, divergence, 0.0)


def tap_names(taps: int) -> list[str]:
    names = ["embeddings"]
    for layer in range(1, (taps - 1) // 2 + 1):
        names += [f"{layer} attention", f"{layer} feed-forward"]
    return names


def attribution(position: int | None, label: str, maps: list[AttentionMaps], stack: str) -> Attribution:
    random = np.random.default_rng(position or 0)
    parts, sources = [Part("embedding", 0.7, stack=stack, name="embeddings")], []
    for layer in range(maps[0].weights.shape[0]):
        for attended in maps:
            for head in range(attended.weights.shape[1]):
                row = attended.weights[layer, head, position or 0] * random.normal(0.1, 0.8, attended.weights.shape[-1])
                sources.append(row)
                parts.append(Part("head", float(row.sum()), layer, head, attended.kind, stack))
        parts.append(Part("feed-forward", float(random.normal(0.3, 0.8)), layer, stack=stack))
    parts += [Part("bias", -0.12, stack=stack, name="value and output biases"), Part("head bias", 0.05)]
    logit = sum(part.value for part in parts) + 2e-6
    return Attribution(position, label, logit, 30 * float(np.tanh(logit / 30)), 2e-6, parts, sources, cap=30.0)


def head_scores(attended: AttentionMaps) -> HeadScores:
    weights = attended.weights.astype(np.float64)
    length, width = weights.shape[-2:]
    distance = abs(np.arange(length)[:, None] - np.arange(width)[None, :])
    visible = np.maximum(attended.visible.sum(-1), 2)[:, None]
    entropy = (-(weights * np.log(np.maximum(weights, 1e-12))).sum(-1) / np.log(visible)).mean(-1)
    shape = weights.shape[:2]
    scores = {
        "distance": (weights * distance).sum(-1).mean(-1),
        "entropy": entropy,
        "previous token": np.array(weights.diagonal(-1, 2, 3).mean(-1)),
        "induction": np.full(shape, np.nan),
        "first token": weights[..., 1:, 0].mean(-1),
    }
    rows = {"distance": length, "entropy": length, "previous token": length - 1, "induction": 0, "first token": length}
    return HeadScores(attended.stack, attended.kind, scores, rows, weights[..., -1, -1] if length == width else None)


def knock_out(attended: AttentionMaps, position: int | None, label: str) -> KnockOut:
    random = np.random.default_rng(5)
    layers, heads = attended.weights.shape[:2]
    change, mlp = random.normal(-0.1, 0.4, (layers, heads)), random.normal(-0.4, 0.8, layers)
    return KnockOut(attended.stack, attended.kind, position, label, change, change**2, mlp, mlp**2)


def stream(stack: str, length: int, taps: int) -> Stream:
    random = np.random.default_rng(9)
    writes = random.uniform(0.5, 3, (taps - 1, length))
    cosines = random.uniform(-0.4, 0.9, (taps - 1, length))
    norms = np.concatenate([np.full((1, length), 1.5), 1.5 + np.cumsum(writes * np.maximum(cosines, 0.1), axis=0)])
    return Stream(stack, tap_names(taps), norms, writes, cosines, 3e-7)


def costs(layers: int, width: int, words: int, before: str = "", cross: bool = False) -> list[Row]:
    """Rows of one stack; `before`: "source " or "target " in an encoder-decoder."""

    def row(name: str, parameters: int, cache: int = 0) -> Row:
        sizes = (4 * parameters, 4 * parameters, 8 * parameters, cache, 9000)
        return Row(before + name, parameters, 2.0 * parameters, 1.7 * parameters, *sizes)

    rows = [row("embeddings", words * width)]
    for layer in range(1, layers + 1):
        rows.append(row(f"{layer} norms", 2 * width))
        rows.append(row(f"{layer} attention", 4 * width * width, 8 * width * 20))
        if cross:
            rows.append(row(f"{layer} cross-attention", 4 * width * width, 8 * width * 20))
        rows.append(row(f"{layer} feed-forward", 8 * width * width))
    return [*rows, row("final norm", width)]


def with_total(rows: list[Row]) -> list[Row]:
    head = Row("head", 0, 960000.0, 960000.0, 0, 0, 0, 0, 4000)
    columns = [list(vars(row).values())[1:] for row in [*rows, head]]
    return [*rows, head, Row("total", *(sum(column) for column in zip(*columns, strict=True)))]


def positions(stack: str, kind: str, heads: int) -> PositionScheme:
    distances = np.arange(64)
    slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    if kind == "rotary":
        sentence = "Each pair of channels of a query and a key is turned by an angle that grows with the position."
        return PositionScheme(stack, kind, sentence, {"frequencies": 10000.0 ** (-np.arange(16) / 16)})
    if kind == "alibi":
        sentence = f"Each of {heads} heads subtracts its slope times the distance from the scores."
        bias = -slopes[:, None] * distances
        return PositionScheme(
            stack, kind, sentence, {"slopes": slopes, "bias by distance": bias, "distances": distances}
        )
    table = np.random.default_rng(1).normal(0, 1, (40, 8)).cumsum(0)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return PositionScheme(
        stack, kind, "One learned vector per position, added once.", {"table similarity": table @ table.T}
    )
