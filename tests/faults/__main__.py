"""`python -m tests.faults`: breaks runs of train.py in many ways, and counts what is lost.

It prints each row of the table as it is measured, and what was lost in words. The folders of trials that lost anything
remain, so that they can be read."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows whose names contain one of these texts")
    parser.add_argument("--trials", type=int, help="trials of each row (default: chosen for each row)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the moments and places of faults (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trials at once (default: one per core)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table into this page")
    return parser, parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    parser, options = parse(arguments)
    # imported here, so that --help does not wait for torch
    from tqdm import tqdm

    from .table import ROWS, run_row, write_page

    names = [name for name in ROWS if not options.only or any(text in name for text in options.only)]
    if not names:
        parser.error(f"no row is called {' or '.join(options.only)}; rows: {', '.join(ROWS)}")
    trials = {name: options.trials or ROWS[name].trials for name in names}
    folder, counts = Path(tempfile.mkdtemp(prefix="faults-")), {}
    # a row is prepared once
    with tqdm(total=sum(trials.values()) + len(names), unit="trial", smoothing=0) as progress:
        for number, name in enumerate(names):
            progress.set_description(name)
            place = folder / str(number)
            found = run_row(name, trials[name], options.seed, options.jobs, place, progress)
            for text in found:
                progress.write(f"LOST {name}: {text}")
            counts[name] = trials[name], len(found)
            progress.write(f"{name}: {trials[name]} trials, {len(found)} lost")
            if not found:
                shutil.rmtree(place)
            if options.write:
                write_page(options.write, options.seed, counts)
    lost = sum(found for _, found in counts.values())
    print(f"{sum(trials.values())} trials of {len(names)} faults, {lost} lost")
    if lost:
        print(f"What is left of them: {folder}")
    else:
        folder.rmdir()
    if options.write:
        print(f"Wrote {options.write}. Next: git diff {options.write}")


if __name__ == "__main__":
    main()
