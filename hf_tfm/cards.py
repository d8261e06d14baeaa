"""Model cards for the Hub. Every number in a card comes from the run that wrote it.

This module imports neither the models nor the training: it takes plain values and returns Markdown."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from .privacy import shareable

__all__ = ["DataFacts", "RunFacts", "Sample", "escaped", "model_card"]

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "accelerate", "evaluate")
# What starts something in a line of Markdown; a bracket only where a link can follow, so that lists stay readable.
MARKDOWN = re.compile(r"[\\`*~<|$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#|\w+;)|!(?=\[)")
# What starts a list, a heading or a quotation at the beginning of a line.
LINE_START = re.compile(r"^(\d*)([-+#>.)])(?=\s|\2|$)")
# fields of every saved configuration that say nothing about the model
BOOKKEEPING_FIELDS = (
    "_name_or_path",
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
    """The data that a model was trained on. `sizes`: split -> (rows, bytes). `baselines`: name of a simple method ->
    its result on the test split, in `baseline_metric`, or else in the first metric that was measured. `notes`:
    sentences on origin and licence. `hub_name`: a dataset on the Hub."""

    description: str
    fingerprint: str
    sizes: Mapping[str, tuple[int, int]]
    language: str | None = None
    hub_name: str | None = None
    baselines: Mapping[str, float] = field(default_factory=dict)
    baseline_metric: str | None = None
    notes: str = ""


@dataclass(frozen=True)
class RunFacts:
    """How a model was trained. `settings`: name -> value with its unit, in the order of the card. `picture`: path of a
    plot. `origin`: "trained from scratch", or from which checkpoint. `base_model`: the Hub name of that checkpoint.
    `is_adapter`: the model is an adapter on it. `license`: as the Hub writes it. `page`: path of a page that shows the
    model from inside on the first sample."""

    command: str
    settings: Mapping[str, Any]
    picture: str | None = None
    origin: str = "trained from scratch"
    base_model: str | None = None
    is_adapter: bool = False
    license: str | None = None
    page: str | None = None


@dataclass(frozen=True)
class Sample:
    """An input, the model's output before and after training, and the reference output if there is one."""

    prompt: str
    before: str
    after: str
    reference: str | None = None


def package_versions(config: Any) -> dict[str, str]:
    """Versions of Python, hf_tfm and the installed packages that results depend on, by name."""
    versions = {"Python": platform.python_version(), "hf_tfm": getattr(config, "hf_tfm_version", "unknown")}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def model_card(
    *,
    name: str,
    config: Any,
    parameters: int,
    pipeline_tag: str,
    results: Mapping[str, Any],
    metrics: Mapping[str, str],
    data: DataFacts,
    run: RunFacts,
    samples: list[Sample],
    usage: str,
    notes: Mapping[str, str] | None = None,
) -> str:
    """A model card for the Hub: YAML front matter with the results as model-index, then Markdown, in which names,
    labels and samples are shown as they are; only `data.notes` may hold Markdown.

    `results`: names as Trainer gives them (`test_bits_per_byte`, `eval_perplexity`) -> value. `metrics`: the metrics to
    show, name without the prefix of the split -> description, the most important first. `notes`: how something was
    measured. `usage`: Python code that loads and uses the checkpoint. Sections without content are left out."""
    sections = [
        f"# {escaped(name)}",
        f"A `{config.model_type}` with {parameters:,} parameters, {escaped(f'{run.origin} on {data.description}')}.",
        section("Use", fenced(usage, "python")),
        section("Results", result_table(results, metrics), baseline_note(data, metrics, results), bullets(notes or {})),
        section("Examples", *map(sample_text, samples), page_note(run.page)),
        section("Data", data_text(data)),
        section("Training", bullets(run.settings), f"![Training]({run.picture})" if run.picture else ""),
        section("Reproduce", fenced(run.command, "bash"), f"Versions: {comma_separated(package_versions(config))}."),
        section("Configuration", "Fields that differ from their defaults:", bullets(changed_fields(config))),
        section("Limitations", limitations(config)),
    ]
    return front_matter(name, pipeline_tag, results, metrics, data, run) + "\n\n".join(filter(None, sections)) + "\n"


def front_matter(
    name: str,
    pipeline_tag: str,
    results: Mapping[str, Any],
    metrics: Mapping[str, str],
    data: DataFacts,
    run: RunFacts,
) -> str:
    """The YAML block that the Hub reads: licence, base model, tags, language, dataset and results."""
    relation: dict[str, Any] = {"base_model_relation": "adapter"} if run.base_model and run.is_adapter else {}
    evaluated = [
        EvalResult(
            task_type=pipeline_tag,
            dataset_type=data.hub_name or "text",
            dataset_name=data.description,
            dataset_split="test",
            metric_type=metric,
            metric_name=description,
            metric_value=round(results[f"test_{metric}"], 4),
        )
        for metric, description in metrics.items()
        if f"test_{metric}" in results
    ]
    card = ModelCardData(
        library_name="peft" if run.is_adapter else "transformers",
        license=run.license,
        base_model=run.base_model,
        pipeline_tag=pipeline_tag,
        tags=["hf_tfm"],
        language=data.language,
        datasets=data.hub_name,
        model_name=name,
        eval_results=evaluated or None,
        **relation,
    )
    return f"---\n{card.to_yaml()}\n---\n\n"


def section(title: str, *parts: str) -> str:
    """A section with its non-empty parts; an empty string if there are none."""
    content = [part for part in parts if part]
    return "\n\n".join([f"## {title}", *content]) if content else ""


def result_table(results: Mapping[str, Any], metrics: Mapping[str, str]) -> str:
    """A row per metric and a column per split."""
    prefixes = {"test": "test", "validation": "eval"}
    splits = [split for split, prefix in prefixes.items() if any(f"{prefix}_{metric}" in results for metric in metrics)]
    rows = []
    for metric, description in metrics.items():
        names = [f"{prefixes[split]}_{metric}" for split in splits]
        if names and all(name in results for name in names):
            rows.append([escaped(description), *(f"{results[name]:.3f}" for name in names)])
    if not rows:
        return ""
    header = ["metric", *splits]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def baseline_note(data: DataFacts, metrics: Mapping[str, str], results: Mapping[str, Any]) -> str:
    if not data.baselines:
        return ""
    values = ", ".join(f"{escaped(name)} {value:.3f}" for name, value in data.baselines.items())
    metric = data.baseline_metric or next(name for name in metrics if f"test_{name}" in results)
    label = escaped(metrics[metric])
    return f"For comparison, methods without a neural network on the same test split, {label}: {values}."


def sample_text(sample: Sample) -> str:
    parts = [("Input:", sample.prompt), ("Before training:", sample.before), ("After training:", sample.after)]
    if sample.reference:
        parts.append(("Reference:", sample.reference))
    return "\n\n".join(text for label, content in parts for text in (label, fenced(content)))


def page_note(page: str | None) -> str:
    if page is None:
        return ""
    return f"[{page}]({page}) shows what happens inside the model on the first input; it opens without a network."


def data_text(data: DataFacts) -> str:
    sizes = {split: f"{rows:,} rows, {size:,} bytes of text" for split, (rows, size) in data.sizes.items()}
    description = escaped(data.description[:1].upper() + data.description[1:])
    text = f"{description}; fingerprint `{data.fingerprint}`. {data.notes}"
    return text.strip() + "\n\n" + bullets(sizes)


def changed_fields(config: Any) -> dict[str, Any]:
    """Fields of the configuration that differ from the defaults of its class, without bookkeeping."""
    defaults = config.conditional_defaults() | type(config)().to_dict()
    return {
        name: shareable(value)
        for name, value in config.to_dict().items()
        if name not in BOOKKEEPING_FIELDS and value != defaults.get(name)
    }


def limitations(config: Any) -> str:
    return (
        "This is a small model trained on little text. It imitates the style of that text, knows hardly any facts, and "
        f"is not tuned to follow instructions. It was trained on sequences of at most {config.max_position_embeddings} "
        "tokens. Errors and biases of the training text can appear in its output. The results hold for similar text "
        "only."
    )


def bullets(items: Mapping[str, Any]) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in items.items())


def comma_separated(items: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


def escaped(value: Any) -> str:
    """A value in one line of Markdown, also in a table, that shows its text as it is; what cannot be printed becomes a
    space."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())
    return LINE_START.sub(r"\1\\\2", MARKDOWN.sub(r"\\\g<0>", line))


def fenced(text: str, language: str = "") -> str:
    """A code block. Its fence is longer than any run of backticks in the text; control characters become U+FFFD."""
    text = "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text.rstrip())
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
