"""The fixture `outcomes`, and the option that writes the compatibility table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .compatibility_table import Row, TableWriter
from .run_in_process import MODES

REPOSITORY = Path(__file__).parents[2]
LIMIT = 900  # seconds; only stops a process that hangs


class Outcomes:
    """What the function of a test returned in each mode: `outcomes["remote"]`. Its errors, by mode: `errors`.

    `statuses`: what the table says of each mode; a test may write what a reader needs to know."""

    def __init__(self, results: dict[str, dict[str, Any]]) -> None:
        self.results = results
        self.errors = {mode: result["error"] for mode, result in results.items() if "error" in result}
        self.statuses = {mode: self.status(mode) for mode in results}

    def status(self, mode: str) -> str:
        if "no_twin" in self.results[mode]:
            return "no such model"
        return f"fails: {self.errors[mode]}" if mode in self.errors else "works"

    def __contains__(self, mode: str) -> bool:
        return "value" in self.results[mode]

    def __getitem__(self, mode: str) -> Any:
        if "value" not in self.results[mode]:
            pytest.fail(f"{mode}: {self.results[mode].get('traceback', 'there is no such model')}", pytrace=False)
        return self.results[mode]["value"]

    def ours(self) -> dict[str, Any]:
        """Mode -> result, for our two modes."""
        return {mode: self[mode] for mode in MODES if mode != "native"}


OUTCOMES = pytest.StashKey[Outcomes]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-table", type=Path, metavar="PAGE", help="write the rows of the tests that run into this page"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "compatibility(tool, what, command=None, statuses=None): a row of model_cards/compatibility.md. `tool`: a "
        "package; `what`: what is run; `command`: what runs it, by default this test; `statuses`: what the table says "
        "of modes that the test does not run",
    )
    page = config.getoption("write_table", None)
    if page is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(TableWriter(page))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # the functions of a file share processes
        if "outcomes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all tiny checkpoints; see `tiny_checkpoints.py`."""
    from .tiny_checkpoints import write_checkpoints

    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    return folder


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, checkpoints: Path) -> dict[str, dict[str, Any]]:
    """Mode -> function -> result, of the functions of `TOOL_runs.py` that the selected tests of `test_TOOL.py` are
    named after."""
    chosen = [item for item in request.session.items if item.path == request.path and "outcomes" in item.fixturenames]  # pyright: ignore[reportAttributeAccessIssue]
    names = list(dict.fromkeys(function_name(item) for item in chosen))
    file = request.path.with_name(f"{request.path.stem.removeprefix('test_')}_runs.py")
    return run_in_modes(file, names, checkpoints)


@pytest.fixture
def outcomes(request: pytest.FixtureRequest, results: dict[str, dict[str, Any]]) -> Outcomes:
    """What the function that the test is named after returned in each mode."""
    name = function_name(request.node)
    found = Outcomes({mode: results[mode][name] for mode in MODES})
    request.node.stash[OUTCOMES] = found
    return found


def function_name(item: Any) -> str:
    return item.originalname.removeprefix("test_")


def run_in_modes(
    file: Path, names: list[str], checkpoints: Path, modes: tuple[str, ...] = MODES
) -> dict[str, dict[str, Any]]:
    """Mode -> function -> result of functions of a file, in a process for each mode, which run at the same time."""
    processes, outputs = {}, {}
    for mode in modes:
        outputs[mode] = checkpoints / f"{file.stem}-{mode}.json"
        job = {"file": str(file), "names": names, "mode": mode, "checkpoints": str(checkpoints)}
        spec = checkpoints / f"{file.stem}-{mode}-job.json"
        spec.write_text(json.dumps({**job, "output": str(outputs[mode])}), encoding="utf-8")
        settings = {
            "PYTHONPATH": str(REPOSITORY) if mode == "package" else "",
            "HF_MODULES_CACHE": str(checkpoints / "modules"),
            "HF_DATASETS_CACHE": str(checkpoints / "datasets"),
            "HF_HUB_OFFLINE": "1",
        }
        processes[mode] = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("run_in_process.py")), str(spec)],
            cwd="/", env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        printed = {mode: process.communicate(timeout=LIMIT)[0] for mode, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    found = {
        mode: json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        for mode, output in outputs.items()
    }
    died = {"error": "the process ended"}
    return {
        mode: {name: results.get(name, {**died, "traceback": printed[mode][-5000:]}) for name in names}
        for mode, results in found.items()
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    report = yield
    marker = item.get_closest_marker("compatibility")
    if marker is not None and report.when == "call" and not report.skipped:
        outcomes = item.stash.get(OUTCOMES, None)
        known = {**dict.fromkeys(MODES, "works"), **marker.kwargs.get("statuses", {})}
        statuses = outcomes.statuses if outcomes else known
        report.user_properties.append(("row", Row.of_test(item.nodeid, marker.kwargs, statuses, report.passed)))
    return report
