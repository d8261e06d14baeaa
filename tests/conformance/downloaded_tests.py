"""Downloads transformers' own tests with its source distribution and makes them importable as `transformers_tests`.

The distribution holds `tests/test_*.py`, but not the modules that they import from sub-folders; `missing_modules/` has
smaller ones of ours. Everything is unpacked to a temporary folder, once for all pytest workers.
"""

import functools
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import transformers
from filelock import FileLock

MISSING_MODULES = Path(__file__).parent / "missing_modules"


class NotAvailable(RuntimeError):
    """transformers' tests cannot be downloaded; the message says why."""


@functools.cache
def fetch() -> Path:
    """The folder that holds the package `transformers_tests`. Raises NotAvailable if the download fails."""
    version = transformers.__version__
    key = hashlib.sha256(str(MISSING_MODULES).encode()).hexdigest()[:12]
    home = Path(tempfile.gettempdir()) / f"hf_tfm-transformers-tests-{version}-{key}"
    home.mkdir(exist_ok=True)
    with FileLock(home / "lock"):
        if not (home / "ready").exists():
            unpack(download(version, home), home)
            (home / "ready").touch()
    return home


def download(version: str, home: Path) -> Path:
    """The source distribution of this version of transformers."""
    line = f"{sys.executable} -m pip download --quiet --no-deps --no-binary transformers --no-build-isolation".split()
    run = subprocess.run([*line, f"transformers=={version}", "--dest", str(home)], capture_output=True, text=True)
    archives = list(home.glob("transformers-*.tar.gz"))
    if run.returncode or not archives:
        last = (run.stderr.strip() or "pip downloaded no archive").splitlines()[-1]
        raise NotAvailable(f"the source distribution of transformers {version} could not be downloaded: {last}")
    return archives[0]


def unpack(archive: Path, home: Path) -> None:
    """Write a package of transformers' tests whose path includes our missing modules."""
    package = home / "transformers_tests"
    package.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                content = tar.extractfile(member)
                assert content is not None
                (package / parts[2]).write_bytes(content.read())
    archive.unlink()
    # the package's path has two folders, so that spawned processes find our modules too
    (package / "__init__.py").write_text(f"__path__.append({str(MISSING_MODULES)!r})\n")
    # the mixins look for transformers in a checkout; with an empty file there they use the installed package
    checkout = home / "src" / "transformers"
    checkout.mkdir(parents=True, exist_ok=True)
    (checkout / "__init__.py").touch()


@functools.cache
def import_downloaded_tests() -> ModuleType:
    """The package `transformers_tests`, which any module can import from here on. Raises NotAvailable."""
    home = str(fetch())
    if home not in sys.path:
        sys.path.insert(0, home)
    import transformers_tests  # pyright: ignore[reportMissingImports]

    return transformers_tests
