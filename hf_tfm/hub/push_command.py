"""`hf-tfm push`: send the folder of a model to the Hub, without what a run leaves beside it."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token, is_offline_mode

from hf_tfm.usage import card_to_send, loading_lines

from .access import check_name, check_push
from .files import CARD, FilesToSend, check_files, choose_files, read_fields
from .uploads import upload_folder

__all__ = ["main"]

MAX_NAMES = 12
PULL_REQUESTS = "refs/pr/"


def parse_arguments(arguments: list[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog, description=__doc__, epilog=f"example: {prog} runs/causal-lm user/my-model --dry_run"
    )
    parser.add_argument("folder", type=Path, help="folder of a model or adapter")
    parser.add_argument("name", help="name on the Hub: user/model, or model under your own name")
    parser.add_argument("--private", action="store_true", help="a repository that only you see")
    parser.add_argument("--dry_run", action="store_true", help="check everything, show the files, and send nothing")
    parser.add_argument("--tag", help="tag of this version, which must be new")
    parser.add_argument("--revision", help="branch to push to, made if it does not exist (default: main)")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request instead of writing")
    parser.add_argument("--license", help="licence in the card, as the Hub writes it, such as apache-2.0")
    parser.add_argument("--message", default="Push by hf-tfm", help="message of the commit (default: %(default)s)")
    parser.add_argument("--leave_out", nargs="+", default=[], metavar="PATTERN", help="further files that stay here")
    args = parser.parse_args(arguments)
    if args.create_pr and (args.revision or args.tag):
        parser.error("--create_pr opens a pull request on the main branch, which has no --revision and no --tag")
    return args


def main(arguments: list[str] | None = None, prog: str = "hf-tfm push") -> None:
    given = sys.argv[1:] if arguments is None else arguments
    push(parse_arguments(given, prog), f"{prog} {shlex.join(word for word in given if word != '--dry_run')}")


def push(args: argparse.Namespace, command: str) -> None:
    """Checks that the push can succeed and that it is whole, then sends it. `command`: the same without --dry_run."""
    api, name = HfApi(), args.name
    is_unchecked = args.dry_run and (get_token() is None or is_offline_mode())
    if is_unchecked:
        check_name(name)
    else:
        name = check_push(api, name, private=args.private, create_pr=args.create_pr)
        if args.tag:
            check_tag(api, name, args.tag)
    fields = read_fields(args.folder)
    files = choose_files(args.folder, args.leave_out)
    check_files(args.folder, files)
    revision = args.tag or args.revision
    lines = loading_lines(fields, files.sent, name, revision)
    card = card_to_send(args.folder, fields, lines, name, revision, args.license)
    print(describe(args.folder, files, name))
    if is_unchecked:
        print(f"Not checked without a token and the Hub: whether you may write to {name}.")
    if args.dry_run:
        print(f"Nothing was sent (--dry_run).\nNext: {command}")
        return
    (args.folder / CARD).write_text(card, encoding="utf-8")
    commit = send(api, name, args, files)
    if args.create_pr:
        lines = loading_lines(fields, files.sent, name, f"{PULL_REQUESTS}{commit.pr_num}")
    print(f"\nSent: {commit.pr_url if args.create_pr else commit.commit_url}\n\nLoad it:\n\n{lines}")


def check_tag(api: Any, name: str, tag: str) -> None:
    """Raises ValueError if a repository has a tag already."""
    if api.repo_exists(name) and tag in [found.name for found in api.list_repo_refs(name).tags]:
        raise ValueError(f"{name} has a tag {tag}; choose another one.")


def send(api: Any, name: str, args: argparse.Namespace, files: FilesToSend) -> Any:
    """Makes the repository and the branch if need be, sends the files, and sets the tag."""
    if not args.create_pr:
        api.create_repo(name, private=args.private or None, exist_ok=True)
        if args.revision and not args.revision.startswith(PULL_REQUESTS):
            api.create_branch(name, branch=args.revision, exist_ok=True)
    commit = upload_folder(
        api,
        repo_id=name,
        folder_path=args.folder,
        allow_patterns=sorted({*files.sent, CARD}),
        revision=args.revision,
        commit_message=args.message,
        create_pr=args.create_pr,
    )
    if args.tag:
        api.create_tag(name, tag=args.tag, revision=commit.oid)
    return commit


def describe(folder: Path, files: FilesToSend, name: str) -> str:
    """What is sent and what stays, in lines."""
    size = sum((folder / file).stat().st_size for file in files.sent)
    lines = [f"{folder} -> {name}: {len(files.sent)} files, {size / 1e6:,.1f} MB", f"  sent: {listed(files.sent)}"]
    return "\n".join([*lines, *(f"  left out, {why}: {listed(names)}" for why, names in files.left_out.items())])


def listed(names: list[str]) -> str:
    """Code in one word, and the first of many names."""
    code = [name for name in names if name.endswith(".py")]
    shown = [name for name in names if name not in code]
    more = [f"{len(shown) - MAX_NAMES} more"] if len(shown) > MAX_NAMES else []
    return ", ".join([*shown[:MAX_NAMES], *more, *([f"code ({len(code)} .py)"] if code else [])])
