"""The host's own tests, fetched from its source distribution and made importable as the package `host_tests`.

The distribution holds `tests/test_*.py` but not the modules that they import from sub-folders; `stand_ins/` has small
ones of our own. Everything is unpacked to a temporary folder, once for all worker processes of a session.
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

STAND_INS = Path(__file__).parent / "stand_ins"


class NotAvailable(RuntimeError):
    """The host's tests cannot be had here; the message says why."""


@functools.cache
def fetch() -> Path:
    """The folder that holds the package `host_tests`. Raises NotAvailable without an index to download from."""
    version = transformers.__version__
    key = hashlib.sha256(str(STAND_INS).encode()).hexdigest()[:12]
    home = Path(tempfile.gettempdir()) / f"hf_tfm-host-tests-{version}-{key}"
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
        last = (run.stderr.strip() or "no archive came").splitlines()[-1]
        raise NotAvailable(f"transformers {version}'s source distribution could not be downloaded: {last}")
    return archives[0]


def unpack(archive: Path, home: Path) -> None:
    """Lay the host's tests and our stand-ins out as one package."""
    package = home / "host_tests"
    package.mkdir(exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                content = tar.extractfile(member)
                assert content is not None
                (package / parts[2]).write_bytes(content.read())
    archive.unlink()
    # two places, one package: what the distribution lacks is found among the stand-ins, in spawned processes too
    (package / "__init__.py").write_text(f"__path__.append({str(STAND_INS)!r})\n")
    # the mixins look the host up by its place in a checkout; an empty file there leaves the installed one in charge
    checkout = home / "src" / "transformers"
    checkout.mkdir(parents=True, exist_ok=True)
    (checkout / "__init__.py").touch()


@functools.cache
def load() -> ModuleType:
    """The package `host_tests`, importable from here on. Raises NotAvailable."""
    home = str(fetch())
    if home not in sys.path:
        sys.path.insert(0, home)
    import host_tests  # pyright: ignore[reportMissingImports]

    return host_tests
