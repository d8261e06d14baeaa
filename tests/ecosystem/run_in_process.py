"""Runs functions of a file in a process of their own: `python run_in_process.py job.json`.

A function receives the checkpoints of one mode and returns what can be written as JSON. The results, or the tracebacks,
go to the job's output file, each as soon as it is known. Modes:

`native`: the native twins. `package`: our checkpoints, with hf_tfm imported. `remote`: our checkpoints, opened by
`trust_remote_code=True`, where hf_tfm cannot be imported."""

import json
import runpy
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

MODES = ("package", "remote", "native")


class NoTwin(LookupError):
    """There is no native model of this kind."""


class Checkpoints:
    """The checkpoints of one mode. `options`: what every call that opens one needs besides its folder."""

    def __init__(self, root: Path, mode: str) -> None:
        self.root, self.mode = root / ("native" if mode == "native" else "ours"), mode
        self.options: dict[str, Any] = {"trust_remote_code": True} if mode == "remote" else {}
        self.workplace = tempfile.mkdtemp()

    def folder(self, name: str = "llama") -> str:
        """The folder of a checkpoint; see `tiny_checkpoints.py`. Raises NoTwin if the mode has none of that name."""
        if not (self.root / name).exists():
            raise NoTwin(name)
        return str(self.root / name)

    def load(self, auto_class: Any, name: str = "llama", **options: Any) -> Any:
        """The model or tokenizer that an Auto class opens."""
        return auto_class.from_pretrained(self.folder(name), **self.options, **options)


def main(job: dict[str, Any]) -> None:
    if job["mode"] == "remote":
        # as where it is not installed
        sys.modules["hf_tfm"] = None  # pyright: ignore[reportArgumentType]
    import torch
    import transformers

    if job["mode"] == "package":
        import hf_tfm  # noqa: F401  registers the classes
    torch.set_num_threads(1)
    checkpoints, results = Checkpoints(Path(job["checkpoints"]), job["mode"]), {}
    functions = runpy.run_path(job["file"])
    for name in job["names"]:
        transformers.set_seed(0)
        try:
            results[name] = {"value": functions[name](checkpoints)}
        except NoTwin:
            results[name] = {"no_twin": True}
        except Exception as error:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            results[name] = {"error": line, "traceback": traceback.format_exc()}
        Path(job["output"]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
