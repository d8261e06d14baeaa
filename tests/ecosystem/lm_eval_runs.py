"""What `test_lm_eval.py` runs in processes of their own."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.__main__ import cli_evaluate
from lm_eval.tasks import TaskManager

ROWS = [
    {"question": "the quick brown", "choices": [" fox", " dog jumps", " words"], "answer": 0},
    {"question": "a model reads words and writes", "choices": [" three", " words", " a fox"], "answer": 1},
    {"question": "one two", "choices": [" four", " the lazy dog", " three"], "answer": 2},
    {"question": "the lazy", "choices": [" one", " dog", " quick brown fox jumps"], "answer": 1},
]
COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}}
test_split: test
doc_to_text: "{{question}}"
"""
# name of a task -> its YAML file, after the common lines
TASKS = {
    "tiny_choice": """
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "tiny_text": """
output_type: generate_until
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["zzz"], max_gen_toks: 5, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "tiny_perplexity": """
output_type: loglikelihood_rolling
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
""",
}
NAMES = ",".join(TASKS)


def write_tasks(checkpoints: Any) -> str:
    """A folder of tasks, each a YAML file over rows in a JSONL file."""
    folder = Path(checkpoints.workplace) / "tasks"
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    for name, text in TASKS.items():
        lines = f"task: {name}\n{COMMON.replace('FOLDER', str(folder))}{text}"
        (folder / f"{name}.yaml").write_text(lines, encoding="utf-8")
    return str(folder)


def evaluate(checkpoints: Any, name: str, batch_size: int, tasks: list[str], **model_args: Any) -> dict[str, Any]:
    """Log-likelihoods or texts of each request by task, and the metrics."""
    found: Any = lm_eval.simple_evaluate(
        "hf",
        {"pretrained": checkpoints.folder(name), "dtype": "float32", **checkpoints.options, **model_args},
        tasks=tasks,  # pyright: ignore[reportArgumentType]
        batch_size=batch_size,
        device="cpu",
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=write_tasks(checkpoints), include_defaults=False),
    )
    responses = {
        task: [sample["filtered_resps"] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
        for task, samples in found["samples"].items()
    }
    return {"responses": json.loads(json.dumps(responses)), "metrics": metrics_of(found)}


def metrics_of(found: dict[str, Any]) -> dict[str, float]:
    return {
        f"{task} {metric}": value
        for task, metrics in found["results"].items()
        for metric, value in metrics.items()
        if isinstance(value, float) and "stderr" not in metric
    }


def batch_sizes(checkpoints: Any) -> Any:
    return {size: evaluate(checkpoints, "llama", size, list(TASKS)) for size in (1, 3)}


def encoder_decoder(checkpoints: Any) -> Any:
    tasks = ["tiny_choice", "tiny_text"]
    return {size: evaluate(checkpoints, "t5", size, tasks, backend="seq2seq") for size in (1, 3)}


def run_command(main: Any, command: list[str], arguments: list[str]) -> str:
    """What a command prints, which reads the arguments of the process."""
    before, sys.argv = sys.argv, [*command, *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            main()
    finally:
        sys.argv = before
    return printed.getvalue()


def command(checkpoints: Any) -> Any:
    """`hf-tfm evaluate` where hf_tfm is installed, otherwise `lm_eval` itself: the table and the file of results."""
    output = Path(checkpoints.workplace) / "results"
    arguments = ["--tasks", NAMES, "--include_path", write_tasks(checkpoints), "--output_path", str(output)]
    arguments += ["--device", "cpu", "--batch_size", "4"]
    if checkpoints.mode == "package":
        from hf_tfm.cli import main

        printed = run_command(main, ["hf-tfm", "evaluate", checkpoints.folder()], arguments)
    else:
        model = f"pretrained={checkpoints.folder()}" + ",trust_remote_code=True" * bool(checkpoints.options)
        printed = run_command(cli_evaluate, ["lm_eval", "run", "--model", "hf", "--model_args", model], arguments)
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.rglob("results_*.json"))]
    table = [line for line in printed.splitlines() if line.startswith("|")]
    return {"table": table, "written": [metrics_of(found) for found in files]}
