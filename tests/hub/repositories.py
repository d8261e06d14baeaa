"""The repositories of the loopback Hub: commits as folders, and names of commits."""

import base64
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Repository:
    """Commits with their folders, oldest first, and the branches, tags and pull requests that name them. `writable`:
    whether a commit can be made, in `root`."""

    name: str
    root: Path | None = None
    private: bool = False
    commits: dict[str, Path] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_requests: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add(self, folder: Path, branch: str = "main", message: str = "") -> str:
        """Make a folder the newest commit of a branch, and return the commit."""
        commit = hashlib.sha1(f"{self.name} {len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = folder
        refs = self.pull_requests if branch.startswith("refs/pr/") else self.branches
        refs[branch] = commit
        self.messages.append(message)
        return commit

    def commit_of(self, revision: str) -> str | None:
        """The commit of a branch, a tag, a pull request, or the beginning of its own name."""
        named = self.branches | self.tags | self.pull_requests
        return named.get(revision) or next((commit for commit in self.commits if commit == revision), None)

    def files(self, revision: str) -> dict[str, Path]:
        """Name -> file of a revision."""
        commit = self.commit_of(revision)
        folder = self.commits[commit] if commit else None
        paths = sorted(folder.rglob("*")) if folder else []
        return {path.relative_to(str(folder)).as_posix(): path for path in paths if path.is_file()}

    def commit(self, branch: str, lines: Iterable[dict[str, Any]], objects: dict[str, bytes], create_pr: bool) -> str:
        """Apply the lines of a commit, as huggingface_hub sends them, to the newest folder of a branch."""
        header, *operations = [(line["key"], line["value"]) for line in lines]
        old = self.files(branch)
        branch = f"refs/pr/{len(self.pull_requests) + 1}" if create_pr else branch
        assert self.root is not None, "a served folder takes no commits"
        folder = self.root / self.name / str(len(self.commits))
        folder.mkdir(parents=True)
        for name, path in old.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
        for kind, value in operations:
            content = objects[value["oid"]] if kind == "lfsFile" else base64.b64decode(value["content"])
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(content)
        return self.add(folder, branch, header[1]["summary"])


def blob_id(path: Path) -> str:
    """What Git calls the content of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
