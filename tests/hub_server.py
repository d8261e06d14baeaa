"""A Hub of its own on loopback: serves folders as repositories, each revision a commit.

`HF_ENDPOINT` of the processes that load from it is `HubServer.endpoint`, and `HF_HUB_OFFLINE` is 0."""

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class HubServer(ThreadingHTTPServer):
    """`with HubServer() as hub: hub.add("user/model", folder)`. `on_request(path, token)` is called before a
    request is answered, and may return a status that is sent instead. `requests` lists (path, token)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # repository -> commit -> folder; "main" is the last commit
        self.repositories: dict[str, dict[str, Path]] = {}
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[str, str], int | None] = lambda path, token: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repository: str, folder: Path) -> str:
        """Serve the folder as the newest commit of a repository, and return the commit."""
        commits = self.repositories.setdefault(repository, {})
        commit = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits[commit] = Path(folder)
        return commit

    def commit_of(self, repository: str, revision: str) -> str | None:
        commits = self.repositories.get(repository, {})
        if commits and revision == "main":
            return list(commits)[-1]
        return revision if revision in commits else None

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
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "")
        self.server.requests.append((path, token))
        refused = self.server.on_request(path, token)
        owner, name, *rest = path.removeprefix("/api/models").strip("/").split("/")
        repository, action, revision = f"{owner}/{name}", (rest or [""])[0], rest[1] if len(rest) > 1 else "main"
        commit = self.server.commit_of(repository, revision)
        if refused or commit is None:
            return self.answer(refused or 404, b"", {"X-Error-Code": "RepoNotFound"})
        if path.startswith("/api/models/"):
            if action not in ("", "revision"):
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return self.answer(200, json.dumps({"id": repository, "sha": commit, "siblings": []}).encode(), {})
        file = self.server.repositories[repository][commit].joinpath(*rest[2:])
        if action != "resolve" or not file.is_file():
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        body = file.read_bytes()
        etag = hashlib.sha256(body).hexdigest()
        return self.answer(200, body, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""
