"""Processes that load checkpoints, and what their results say.

They run `reader.py`. Each does many jobs, because importing transformers takes seconds. In "hidden" readers hf_tfm
cannot be imported, in "importable" ones it can.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .checkpoints import REPOSITORY

READER_SCRIPT = Path(__file__).with_name("reader.py")
READER_TIMEOUT = 300  # seconds; only stops a reader that hangs
CONCURRENT_LOADS = 8
REMOTE_PACKAGE = "transformers_modules."  # where transformers imports the code of checkpoints
# (how the first load of a checkpoint ends, at which of its code files)
INTERRUPTIONS = [("killed", number) for number in (1, 2, 5, 12, 27)] + [("refused", 7)]


class Worker:
    """Jobs by key; one process does them one after the other."""

    def __init__(self):
        self.jobs = {}

    def add_job(self, *key, function, **arguments):
        self.jobs[key] = {"function": function, "arguments": arguments}

    def load_model(self, *key, **arguments):
        self.add_job(*key, function="load_model", **arguments)


class Reader:
    """A process that imports transformers and forks the workers, which run at the same time."""

    def __init__(self, root, package, workers, endpoint=None):
        self.package, self.workers = package, workers
        (root / "working_directory").mkdir(parents=True)
        spec = root / "jobs.json"
        jobs = [[*worker.jobs.values()] for worker in workers]
        spec.write_text(json.dumps({"package": package, "workers": jobs}, default=str), encoding="utf-8")
        settings = {
            "PYTHONPATH": str(REPOSITORY) if package == "importable" else "",
            "HF_HOME": str(root / "home"),
            "HF_MODULES_CACHE": str(root / "modules"),
            **({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint} if endpoint else {"HF_HUB_OFFLINE": "1"}),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(READER_SCRIPT), str(spec)],
            cwd=root / "working_directory",
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """Job key -> result."""
        try:
            output, errors = self.process.communicate(timeout=READER_TIMEOUT)
        finally:
            self.process.kill()
        lines = [line for line in output.splitlines() if line.startswith("RESULTS ")]
        assert len(lines) == 1, f"the {self.package} reader printed no results:\n{output}\n{errors}"
        assert "[y/N]" not in output, f"transformers asked the {self.package} reader a question:\n{output}"
        results = json.loads(lines[0].removeprefix("RESULTS "))
        return {
            key: result
            for worker, found in zip(self.workers, results, strict=True)
            for key, result in zip(worker.jobs, found, strict=True)
        }


def result_of(results, *key):
    result = results[key]
    if "error" in result:
        pytest.fail(f"{key}:\n{result['error']}", pytrace=False)
    return result


def assert_loaded(results, class_name, *key):
    """The reader loaded that class from the checkpoint's own code, and its outputs are those expected bit for bit."""
    result = result_of(results, *key)
    assert result["class"] == class_name, f"{key}: loaded {result['class']}, not {class_name}"
    assert result["module"].startswith(REMOTE_PACKAGE), f"{key}: {class_name} comes from {result['module']}"
    assert not result["differences"], f"{key}: outputs differ from those expected: {result['differences']}"
