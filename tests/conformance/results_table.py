"""`python -m tests.conformance.results_table`: runs transformers' own tests on our recipes and on its own families, and
writes the counts into CONTRIBUTING.md."""

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import transformers

from .cases import NATIVE_CASES, OUR_CASES, RECIPES, Case

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "CONTRIBUTING.md"
BEGIN = "<!-- transformers' tests: written by python -m tests.conformance.results_table -->"
END = "<!-- end of transformers' tests -->"
ARCHITECTURES = ("encoder", "decoder", "seq2seq")

# (-m, -k) of each pytest run without --everything: in the second, three decoders start processes
SELECTIONS = (("not distributed", ""), ("distributed", "Decoder_experts or Decoder_Llama or Decoder_Mixtral"))


def run(file: str, everything: bool, processes: str) -> dict[str, Counter]:
    """Class name -> how many of its tests passed, failed and were skipped."""
    counts: dict[str, Counter] = {}
    for marks, names in (("", ""),) if everything else SELECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            line = [sys.executable, "-m", "pytest", str(HERE / file), "-n", processes, f"--junitxml={report}"]
            subprocess.run([*line, "-m", marks, "-k", names], check=False)
            for class_name, found in count(ElementTree.parse(report).getroot()).items():
                counts.setdefault(class_name, Counter()).update(found)
    return counts


def count(report: ElementTree.Element) -> dict[str, Counter]:
    """Class name -> outcomes. A test with several entries has failed if one of them failed, and counts as passed if
    its last one passed."""
    outcomes: dict[tuple[str, str], str] = {}
    for test in report.iter("testcase"):
        key = (test.get("classname", "").rpartition(".")[2], test.get("name", ""))
        failed = test.find("failure") is not None or test.find("error") is not None
        outcome = "failed" if failed else "skipped" if test.find("skipped") is not None else "passed"
        if outcomes.get(key) != "failed":
            outcomes[key] = outcome
    counts: dict[str, Counter] = {}
    for (class_name, _), outcome in outcomes.items():
        counts.setdefault(class_name, Counter())[outcome] += 1
    return counts


def cell(counts: dict[str, Counter], case: Case) -> str:
    found = counts.get(f"Test{case.title}", Counter())
    return f"{found['passed']} / {found['failed']} / {found['skipped']}"


def table(counts: dict[str, Counter]) -> str:
    """Markdown: a row for each recipe, then two rows of transformers' own families."""
    ours = {(case.architecture, case.name): case for case in OUR_CASES}
    rows = [
        "| passed / failed / skipped | encoder | decoder | encoder-decoder |",
        "|---|---|---|---|",
    ]
    for recipe in RECIPES:
        cells = [cell(counts, ours[architecture, recipe]) for architecture in ARCHITECTURES]
        rows.append(f"| {recipe} | {' | '.join(cells)} |")
    for number in range(2):
        cases = [[c for c in NATIVE_CASES if c.architecture == a][number] for a in ARCHITECTURES]
        cells = [f"{case.name} {cell(counts, case)}" for case in cases]
        rows.append(f"| *transformers' own* | {' | '.join(cells)} |")
    return "\n".join(rows)


def write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--everything", action="store_true", help="run the distributed tests of all recipes too (1 h)")
    parser.add_argument("--processes", default="auto", help="number of pytest workers, as for pytest -n")
    parser.add_argument("--print", action="store_true", help="print the table and leave CONTRIBUTING.md unchanged")
    arguments = parser.parse_args()
    counts: dict[str, Counter] = {}
    for file in ("test_transformers_suite.py", "native_families.py"):
        counts |= run(file, arguments.everything, arguments.processes)
    text = f"transformers {transformers.__version__}\n\n{table(counts)}"
    print(text)
    if not arguments.print:
        write(text)
        print(f"\nWrote the table into {PAGE.name}. Next: git diff {PAGE.name}")


if __name__ == "__main__":
    main()
