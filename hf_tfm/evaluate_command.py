"""`hf-tfm evaluate`: run tasks of lm-evaluation-harness on a language model, print the table and write the results."""

import argparse
import json
import sys

from transformers import AutoConfig

from .errors import missing_folder_errors

__all__ = ["main"]

# options of `lm_eval run`, passed on as they are: name -> help
OPTIONS = {
    "include_path": "folder whose YAML files define more tasks",
    "output_path": "folder for a file of results (default: they are only printed)",
    "batch_size": "rows at a time, or auto (default: 1)",
    "num_fewshot": "solved examples before each question (default: those of the task)",
    "limit": "only so many rows of each task, or this fraction of them below 1",
    "device": "cpu, cuda or cuda:N (default: cuda where there is one)",
    "gen_kwargs": "arguments of generate, such as temperature=0,top_k=1",
}
FLAGS = {
    "apply_chat_template": "write questions as chats, by the tokenizer's template",
    "log_samples": "also write every answer, beside the results",
    "trust_remote_code": "run code that comes with the checkpoint or the data; not needed for models of hf_tfm",
}


def parse_arguments(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description=__doc__, epilog=f"example: {prog} my-model --tasks my_tasks/questions.yaml arc_easy"
    )
    parser.add_argument("checkpoint", help="folder or Hub name of a language model, ours or a native one")
    parser.add_argument(
        "--tasks", nargs="+", required=True, metavar="TASK",
        help="names of tasks (lm_eval ls tasks prints them), YAML files of yours, or one folder of them",
    )  # fmt: skip
    parser.add_argument("--revision", default="main", help="branch, tag or commit of a Hub name (default: main)")
    parser.add_argument("--dtype", default="auto", help="dtype of the weights (default: that of the checkpoint)")
    for name, text in OPTIONS.items():
        parser.add_argument(f"--{name}", metavar="VALUE", help=text)
    for name, text in FLAGS.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args(arguments)


def model_arguments(args: argparse.Namespace) -> dict[str, str | bool]:
    """What the harness opens the checkpoint with. It looks a model type up in tables of native ones, and takes every
    other for a causal decoder, so it is told. Raises ValueError for an encoder."""
    source = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}
    with missing_folder_errors(args.checkpoint):
        config = AutoConfig.from_pretrained(args.checkpoint, **source)
    if config.model_type == "tfm_encoder":
        raise ValueError(
            f"{args.checkpoint} is an encoder, which predicts no next token; lm-evaluation-harness takes causal "
            "decoders and encoder-decoders."
        )
    backend = "seq2seq" if config.is_encoder_decoder else "causal"
    return {"pretrained": args.checkpoint, "backend": backend, "dtype": args.dtype, **source}


def harness_arguments(args: argparse.Namespace) -> list[str]:
    """The arguments of `lm_eval`."""
    command = ["run", "--model", "hf", "--model_args", json.dumps(model_arguments(args)), "--tasks", *args.tasks]
    for name in OPTIONS:
        command += [] if getattr(args, name) is None else [f"--{name}", getattr(args, name)]
    return command + [f"--{name}" for name in FLAGS if getattr(args, name)]


def main(arguments: list[str] | None = None, prog: str = "hf-tfm evaluate") -> None:
    args = parse_arguments(arguments, prog)
    # imported here, so that --help does not wait for it
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]

    before = sys.argv
    # its command reads the arguments of the process
    sys.argv = ["lm_eval", *harness_arguments(args)]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
