"""`python -m tests.ecosystem`: runs other tools on our models and on native ones.

The tools of the extra `ecosystem` have to be installed; tests of others are skipped."""

import argparse
import sys
from pathlib import Path


def parse(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ecosystem", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tests whose names contain one of these texts")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the rows of the tests that run into this page"
    )
    return parser, parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    _, options = parse(arguments)
    # imported here, so that --help does not wait for it
    import pytest

    command = [str(Path(__file__).parent), "-m", "ecosystem or not ecosystem"]
    command += ["-k", " or ".join(options.only)] if options.only else []
    command += ["--write-table", str(options.write)] if options.write else []
    return int(pytest.main(command))


if __name__ == "__main__":
    sys.exit(main())
