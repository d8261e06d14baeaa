"""Model cards written from measured results: every number in a card comes from the run that wrote it.

The room knows neither the models nor the training: it is handed plain facts and returns Markdown."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

__all__ = ["MEASURES", "DataFacts", "RunFacts", "Sample", "model_card"]

# name of a result after its split's prefix -> how a reader calls it, with its unit
MEASURES = {
    "bits_per_byte": "bits per byte of text",
    "nats_per_token": "nats per token (the loss)",
    "perplexity": "perplexity per token",
}
PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "evaluate")
HOUSEKEEPING = (
    "architectures",
    "auto_map",
    "dtype",
    "hf_tfm_version",
    "model_type",
    "transformers_version",
    "use_cache",
)


@dataclass(frozen=True)
class DataFacts:
    """What a model learnt from. `sizes`: split -> (documents, bytes); `baselines`: name -> bits per byte on the test
    split; `notes`: sentences on origin and rights; `hub_name`: the data set on the Hub, where it is one."""

    description: str
    fingerprint: str
    sizes: Mapping[str, tuple[int, int]]
    language: str | None = None
    hub_name: str | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True)
class RunFacts:
    """How a model was trained. `settings`: name -> value with its unit, in the order in which they are shown."""

    command: str
    settings: Mapping[str, Any]
    picture: str | None = None


@dataclass(frozen=True)
class Sample:
    """One prompt and how the model continued it before and after training; both texts include the prompt."""

    prompt: str
    before: str
    after: str


def package_versions(config: Any) -> dict[str, str]:
    """Python, hf_tfm and the installed packages that results depend on, by name."""
    found = {"Python": platform.python_version(), "hf_tfm": getattr(config, "hf_tfm_version", "unknown")}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def model_card(
    *,
    name: str,
    config: Any,
    parameters: int,
    pipeline_tag: str,
    results: Mapping[str, Any],
    data: DataFacts,
    run: RunFacts,
    samples: list[Sample],
    usage: str,
) -> str:
    """A Hub model card: YAML front matter with the results as model-index, then Markdown.

    `results` holds Trainer's names (`test_bits_per_byte`, `eval_perplexity`); `usage` is Python that loads and uses the
    checkpoint. Sections without facts are left out."""
    sections = [
        f"# {name}",
        f"A `{config.model_type}` with {parameters:,} parameters, trained from scratch on {data.description}.",
        section("Use", fenced(usage, "python")),
        section("Results", result_table(results, data), baseline_note(data)),
        section("What it writes", *map(sample_text, samples)),
        section("Data", data_text(data)),
        section("Training", bullets(run.settings), f"![Loss and learning rate]({run.picture})" if run.picture else ""),
        section("Reproduce", fenced(run.command, "bash"), f"Versions: {pairs(package_versions(config))}."),
        section("Configuration", "What differs from the defaults:", bullets(unusual_fields(config))),
        section("Limits", limits(config)),
    ]
    return front_matter(name, pipeline_tag, results, data) + "\n\n".join(filter(None, sections)) + "\n"


def front_matter(name: str, pipeline_tag: str, results: Mapping[str, Any], data: DataFacts) -> str:
    """The card's YAML block, with what the Hub reads: tags, language, data set, measured results."""
    evaluated = [
        EvalResult(
            task_type=pipeline_tag,
            dataset_type=data.hub_name or "text",
            dataset_name=data.description,
            dataset_split="test",
            metric_type=measure,
            metric_name=words,
            metric_value=round(results[f"test_{measure}"], 4),
        )
        for measure, words in MEASURES.items()
        if f"test_{measure}" in results
    ]
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline_tag,
        tags=["hf_tfm"],
        language=data.language,
        datasets=data.hub_name,
        model_name=name,
        eval_results=evaluated or None,
    )
    return f"---\n{card.to_yaml()}\n---\n\n"


def section(title: str, *parts: str) -> str:
    """A titled section of its non-empty parts; nothing at all where there are none."""
    written = [part for part in parts if part]
    return "\n\n".join([f"## {title}", *written]) if written else ""


def result_table(results: Mapping[str, Any], data: DataFacts) -> str:
    """Measured results, one row per measure and one column per split."""
    splits = [(label, prefix) for label, prefix in (("test", "test"), ("validation", "eval")) if has(results, prefix)]
    rows = [
        [words, *(f"{results[f'{prefix}_{measure}']:.3f}" for _, prefix in splits)]
        for measure, words in MEASURES.items()
        if splits and all(f"{prefix}_{measure}" in results for _, prefix in splits)
    ]
    head = ["measure", *(label for label, _ in splits)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if rows else ""


def has(results: Mapping[str, Any], prefix: str) -> bool:
    return any(f"{prefix}_{measure}" in results for measure in MEASURES)


def baseline_note(data: DataFacts) -> str:
    if not data.baselines:
        return ""
    values = ", ".join(f"{name} {bits:.2f}" for name, bits in data.baselines.items())
    return f"For comparison, bits per byte on the same test split without a neural network: {values}."


def sample_text(sample: Sample) -> str:
    return "\n\n".join(
        [f"Prompt `{sample.prompt}`, before training:", fenced(sample.before), "and after:", fenced(sample.after)]
    )


def data_text(data: DataFacts) -> str:
    sizes = {split: f"{documents:,} documents, {size:,} bytes" for split, (documents, size) in data.sizes.items()}
    text = f"{data.description[:1].upper()}{data.description[1:]}; fingerprint `{data.fingerprint}`. {data.notes}"
    return text.strip() + "\n\n" + bullets(sizes)


def unusual_fields(config: Any) -> dict[str, Any]:
    """Fields of the configuration that differ from its class' defaults, housekeeping left out."""
    usual = type(config)().to_dict()
    return {
        key: value for key, value in config.to_dict().items() if key not in HOUSEKEEPING and value != usual.get(key)
    }


def limits(config: Any) -> str:
    return (
        f"A small model that has seen little text: it knows the manner of that text and hardly any facts, and it "
        f"has not been tuned to follow instructions. It was trained on sequences of at most "
        f"{config.max_position_embeddings} tokens. Whatever is wrong or unfair in its text can come back out of it. "
        "Bits per byte on repetitive text say nothing about skill on other text."
    )


def bullets(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def pairs(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside it; control characters become U+FFFD."""
    text = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text.rstrip())
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
