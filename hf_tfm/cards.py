"""Model cards written from measured results: every number in a card comes from the run that wrote it.

The room knows neither the models nor the training: it is handed plain facts and returns Markdown."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

__all__ = ["DataFacts", "RunFacts", "Sample", "model_card"]

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
    """What a model learnt from. `sizes`: split -> (rows, bytes); `baselines`: name -> what simple methods reach on the
    test split, in the run's first measure; `notes`: sentences on origin and rights; `hub_name`: the data set on the
    Hub, where it is one."""

    description: str
    fingerprint: str
    sizes: Mapping[str, tuple[int, int]]
    language: str | None = None
    hub_name: str | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True)
class RunFacts:
    """How a model was trained. `settings`: name -> value with its unit, in the order in which they are shown;
    `origin`: from scratch, or from which checkpoint."""

    command: str
    settings: Mapping[str, Any]
    picture: str | None = None
    origin: str = "trained from scratch"


@dataclass(frozen=True)
class Sample:
    """One input, what the model made of it before and after training, and the right answer where there is one."""

    prompt: str
    before: str
    after: str
    wanted: str | None = None


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
    measures: Mapping[str, str],
    data: DataFacts,
    run: RunFacts,
    samples: list[Sample],
    usage: str,
    notes: Mapping[str, str] | None = None,
) -> str:
    """A Hub model card: YAML front matter with the results as model-index, then Markdown.

    `results` holds Trainer's names (`test_bits_per_byte`, `eval_perplexity`); `measures` those that are shown, without
    the split's prefix, with their words, the headline first; `notes` say how something was measured; `usage` is Python
    that loads and uses the checkpoint. Sections without facts are left out."""
    sections = [
        f"# {name}",
        f"A `{config.model_type}` with {parameters:,} parameters, {run.origin} on {data.description}.",
        section("Use", fenced(usage, "python")),
        section("Results", result_table(results, measures), baseline_note(data, measures), bullets(notes or {})),
        section("What it does", *map(sample_text, samples)),
        section("Data", data_text(data)),
        section("Training", bullets(run.settings), f"![Training]({run.picture})" if run.picture else ""),
        section("Reproduce", fenced(run.command, "bash"), f"Versions: {pairs(package_versions(config))}."),
        section("Configuration", "What differs from the defaults:", bullets(unusual_fields(config))),
        section("Limits", limits(config)),
    ]
    return front_matter(name, pipeline_tag, results, measures, data) + "\n\n".join(filter(None, sections)) + "\n"


def front_matter(
    name: str, pipeline_tag: str, results: Mapping[str, Any], measures: Mapping[str, str], data: DataFacts
) -> str:
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
        for measure, words in measures.items()
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


def result_table(results: Mapping[str, Any], measures: Mapping[str, str]) -> str:
    """Measured results, one row per measure and one column per split."""
    known = (("test", "test"), ("validation", "eval"))
    splits = [(label, prefix) for label, prefix in known if any(f"{prefix}_{name}" in results for name in measures)]
    rows = [
        [words, *(f"{results[f'{prefix}_{measure}']:.3f}" for _, prefix in splits)]
        for measure, words in measures.items()
        if splits and all(f"{prefix}_{measure}" in results for _, prefix in splits)
    ]
    head = ["measure", *(label for label, _ in splits)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if rows else ""


def baseline_note(data: DataFacts, measures: Mapping[str, str]) -> str:
    if not data.baselines:
        return ""
    values = ", ".join(f"{name} {value:.3f}" for name, value in data.baselines.items())
    return f"For comparison, {next(iter(measures.values()))} on the same test split without a neural network: {values}."


def sample_text(sample: Sample) -> str:
    parts = [("Input:", sample.prompt), ("Before training:", sample.before), ("After:", sample.after)]
    wanted = [("Right:", sample.wanted)] if sample.wanted else []
    return "\n\n".join(text for words, content in [*parts, *wanted] for text in (words, fenced(content)))


def data_text(data: DataFacts) -> str:
    sizes = {split: f"{rows:,} rows, {size:,} bytes of text" for split, (rows, size) in data.sizes.items()}
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
        "Results hold for text like its own and say little about other text."
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
