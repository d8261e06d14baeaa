"""A Hub of its own on loopback: serves folders as repositories and takes pushes, as huggingface_hub speaks with it.

`HF_ENDPOINT` of the processes that use it is `HubServer.endpoint`, `HF_HUB_OFFLINE` is 0, and `HF_HUB_DISABLE_XET` is 1
where they push: large files come by the older protocol."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .repositories import Repository, blob_id, sha256

# In the place of a status: the connection ends without an answer.
BROKEN = 0
LARGE_FILE = ".safetensors"
ROLES = {"token-of-user": "write", "token-that-reads": "read"}
ACCOUNT = {"name": "user", "type": "user", "orgs": [{"name": "lab", "roleInOrg": "write"}]}


class HubServer(ThreadingHTTPServer):
    """`with HubServer() as hub: hub.add("user/model", folder)`. `root`: a folder for what is pushed.
    `on_request(path, token)` is called before a request is answered, and may return a status that is sent instead, or
    BROKEN. `requests` lists (path, token)."""

    daemon_threads = True

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.repositories: dict[str, Repository] = {}
        # sha256 -> content of large files
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str, str], int | None] = lambda path, token: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repository: str, folder: Path) -> str:
        """Serve the folder as the newest commit of a repository, and return the commit."""
        return self.repositories.setdefault(repository, Repository(repository)).add(Path(folder))

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Find the repository and the revision in the path, and call the method of the action."""
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        token = self.headers.get("Authorization", "")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.server.requests.append((unquote(url.path), token))
        status = self.server.on_request(unquote(url.path), token)
        if status == BROKEN:
            self.close_connection = True
            self.connection.close()
            return None
        self.role = ROLES.get(token.removeprefix("Bearer "))
        return self.answer(status, b"") if status else self.route(parts)

    do_HEAD = do_POST = do_PUT = do_GET

    def route(self, parts: list[str]) -> None:
        if parts[:2] == ["api", "whoami-v2"]:
            account = ACCOUNT | {"auth": {"accessToken": {"role": self.role}}}
            return self.json(account) if self.role else self.answer(401, b"")
        if parts[:2] == ["api", "validate-yaml"]:
            return self.json({"errors": [], "warnings": []})
        if parts[:3] == ["api", "repos", "create"]:
            return self.create(json.loads(self.body))
        if parts[0] == "objects":
            self.server.objects[parts[1]] = self.body
            return self.answer(200, b"")
        owner, name, *rest = parts[2:] if parts[:2] == ["api", "models"] else parts
        repository = self.server.repositories.get(f"{owner}/{name.removesuffix('.git')}")
        if repository is None or (repository.private and not self.role):
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        action, *rest = rest or [""]
        method = getattr(self, f"do_{action.replace('-', '_') or 'revision'}", None)
        return method(repository, *rest) if method else self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    # Reading

    def do_revision(self, repository: Repository, revision: str = "main") -> None:
        commit = repository.commit_of(revision)
        # a new repository has no commit
        if commit is None and (revision != "main" or repository.commits):
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name} for name in repository.files(revision)]
        return self.json(
            {"id": repository.name, "sha": commit, "siblings": siblings, "private": repository.private, "tags": []}
        )

    def do_tree(self, repository: Repository, revision: str = "main", *folder: str) -> None:
        files = repository.files(revision)
        self.json(
            [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": blob_id(path)}
                for name, path in files.items()
                if name.startswith("/".join(folder))
            ]
        )

    def do_refs(self, repository: Repository) -> None:
        kinds = {"branches": repository.branches, "tags": repository.tags}
        refs = {
            kind: [{"name": name, "ref": name, "targetCommit": commit} for name, commit in named.items()]
            for kind, named in kinds.items()
        }
        self.json(refs | {"converts": []})

    def do_resolve(self, repository: Repository, revision: str, *name: str) -> None:
        commit = repository.commit_of(revision)
        if commit is None:
            return self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        file = repository.commits[commit].joinpath(*name)
        if not file.is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        return self.answer(200, file.read_bytes(), {"X-Repo-Commit": commit, "ETag": f'"{sha256(file)}"'})

    # Writing

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization'] or ACCOUNT['name']}/{asked['name']}"
        if self.role != "write":
            return self.answer(403, b"")
        if name in self.server.repositories:
            return self.json({"url": f"{self.server.endpoint}/{name}"}, 409)
        private = asked.get("visibility") == "private"
        self.server.repositories[name] = Repository(name, self.server.root, private)
        return self.json({"url": f"{self.server.endpoint}/{name}"})

    def do_auth_check(self, repository: Repository, kind: str = "read") -> None:
        owner = repository.name.partition("/")[0]
        may_write = self.role == "write" and owner in (ACCOUNT["name"], "lab")
        self.answer(200 if kind == "read" or may_write else 403, b"{}")

    def do_branch(self, repository: Repository, branch: str) -> None:
        start = repository.commit_of("main")
        if branch in repository.branches:
            return self.json({}, 409)
        if start:
            repository.branches[branch] = start
        return self.json({})

    def do_tag(self, repository: Repository, revision: str) -> None:
        commit = repository.commit_of(revision)
        assert commit, f"no revision {revision}"
        repository.tags[json.loads(self.body)["tag"]] = commit
        self.json({})

    def do_preupload(self, repository: Repository, revision: str) -> None:
        known = repository.files(revision)
        names = [file["path"] for file in json.loads(self.body)["files"]]
        oids = {
            name: (sha256 if name.endswith(LARGE_FILE) else blob_id)(known[name]) for name in names if name in known
        }
        modes = {name: "lfs" if name.endswith(LARGE_FILE) else "regular" for name in names}
        files = [
            {"path": name, "uploadMode": modes[name], "shouldIgnore": False, "oid": oids.get(name)} for name in names
        ]
        self.json({"files": files})

    def do_info(self, repository: Repository, *_: str) -> None:
        """The batch of large files: where each goes that is not here."""
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.objects:
                item["actions"] = {"upload": {"href": f"{self.server.endpoint}/objects/{item['oid']}"}}
        self.json({"objects": objects, "transfer": "basic"})

    def do_commit(self, repository: Repository, branch: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines()]
        create_pr = "create_pr" in self.query
        commit = repository.commit(branch, lines, self.server.objects, create_pr)
        page = f"{self.server.endpoint}/{repository.name}"
        number = f"{page}/discussions/{len(repository.pull_requests)}" if create_pr else None
        self.json({"commitUrl": f"{page}/commit/{commit}", "commitOid": commit, "pullRequestUrl": number})

    # Answers

    def json(self, content: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""
