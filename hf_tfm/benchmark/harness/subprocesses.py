"""Run Python code in processes of their own, for measurements that must not inherit memory or imports."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["run_and_forward_stderr", "run_module_in_fresh_process", "run_python"]

# the folder above this package: processes that start there import the same code
ROOT = Path(__file__).parents[3]


def run_python(arguments: list[str], description: str, environment: dict[str, str] | None = None) -> Any:
    """Run `python ARGUMENTS` with more environment variables. Returns the last line of its output, read as JSON.
    Raises ChildProcessError with the last line of its error messages if it fails; its cause has all of them."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or [""])[-1]
        reason = "it was killed, most likely for memory" if done.returncode == -9 else last_line
        message = f"The process for {description} ended with status {done.returncode}: {reason}"
        raise ChildProcessError(message) from RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run_module_in_fresh_process(module: str, settings: dict[str, Any], description: str) -> Any:
    """What `python -m MODULE SETTINGS` prints, both in JSON. Raises ChildProcessError as `run_python` does."""
    return run_python(["-m", module, json.dumps(settings)], description)


def run_and_forward_stderr(command: list[str]) -> tuple[int, str]:
    """The status of a command and the last line of its error messages, which appear on the screen as they come."""
    end = b""
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.stderr
        while piece := os.read(process.stderr.fileno(), 4096):
            sys.stderr.write(piece.decode(errors="replace"))
            sys.stderr.flush()
            end = (end + piece)[-4000:]
    lines = end.decode(errors="replace").strip().splitlines()
    return process.returncode, lines[-1] if lines else ""
