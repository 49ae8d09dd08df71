"""The two listeners' answers, as huggingface_hub 2.x asks for them."""

from __future__ import annotations

import json
import re
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .repos import XET_HASH, Fault, File, Repo

if TYPE_CHECKING:
    from .hub import FakeHub

_PIECE = 1 << 16
_LISTED = ("modelId", "private", "downloads", "likes", "tags")
_MODEL = re.compile(r"^/api/models/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?$")
_RESOLVE = re.compile(r"^/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    @property
    def hub(self) -> FakeHub:
        hub: FakeHub = self.server.hub
        return hub

    @property
    def token(self) -> str | None:
        return self.headers.get("Authorization")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, **headers: str) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def fail(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        if code:
            headers["X_Error_Code"] = code
        if message:
            headers["X_Error_Message"] = message
        self.answer(status, json.dumps({"error": message or code}).encode(), **headers)

    def refuse(self, fault: Fault) -> None:
        said = {"Retry_After": fault.retry_after, "Location": fault.location}
        more = {name: value for name, value in said.items() if value is not None}
        self.fail(fault.status or 500, fault.code or "", **more)


class Pages(_Handler):
    """The Hub: its API, and `resolve`, which redirects."""

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        from .hub import Asked

        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(Asked(self.command, self.path, self.token))
        url = urlsplit(self.path)
        # Not for what huggingface_hub asks of its own accord, such as /api/agent-harnesses, once a day
        ours = url.path.startswith("/api/models") or _RESOLVE.match(url.path)
        if ours and (fault := self.hub.next_page_fault()) is not None:
            return self.refuse(fault)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/api/models":
            return self._search(query, parse_qs(url.query).get("expand"))
        if found := _MODEL.match(url.path):
            name, kind, revision, _ = found.groups()
            return self._model(name, kind or "revision", unquote(revision or "main"), query, body)
        if found := _RESOLVE.match(url.path):
            name, revision, path = found.groups()
            return self._resolve(name, unquote(revision), unquote(path))
        return self.fail(404, "EntryNotFound", "Entry not found")

    def _search(self, query: dict[str, str], expand: list[str] | None) -> None:
        """As the Hub: a list says of each repo what `expand` names, else a usual few things."""
        text, said = query.get("search", "").lower(), {"id", "_id", *(expand or _LISTED)}
        found = [repo for repo in self.hub.repos.values() if text in repo.name.lower() and not repo.private]
        rows = [repo.described(repo.head) for repo in found[: int(query.get("limit") or 100)]]
        self.json([{key: value for key, value in row.items() if key in said} for row in rows])

    def _known(self, name: str, revision: str) -> tuple[Repo, str] | None:
        """Answers and returns None where there is nothing to see for this token."""
        repo, bare = self.hub.repos.get(name), (self.token or "").removeprefix("Bearer ")
        if self.token and bare == "hf_invalid":
            self.fail(401, message="Invalid credentials in Authorization header")
        elif repo is None or (repo.private and bare not in repo.allowed):
            # As the Hub: who has no token is told nothing of what exists
            self.fail(404 if self.token else 401, "RepoNotFound", "Repository not found")
        elif (commit := repo.find(revision)) is None:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repo, commit
        return None

    def _model(self, name: str, kind: str, revision: str, query: dict[str, str], body: bytes) -> None:
        known = self._known(name, revision)
        if known is None:
            return None
        repo, commit = known
        if kind == "revision":
            return self.json(repo.described(commit))
        entries = [file.described(path) for path, file in repo.commits[commit].items()]
        if kind == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self.json([entry for entry in entries if entry["path"] in wanted])
        start, size = int(query.get("cursor") or 0), self.hub.page_size
        more = {}
        if start + size < len(entries):
            following = f"{self.hub.url}/api/models/{name}/tree/{commit}?recursive=true&cursor={start + size}"
            more["Link"] = f'<{following}>; rel="next"'
        return self.json(entries[start : start + size], **more)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        known = self._known(name, revision)
        if known is None:
            return None
        repo, commit = known
        bare = (self.token or "").removeprefix("Bearer ")
        if repo.gated and bare not in repo.allowed:
            said = "Access to this model is restricted"
            return self.fail(403 if self.token else 401, "GatedRepo", said, X_Repo_Commit=commit)
        file = repo.commits[commit].get(path)
        if file is None:
            return self.fail(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit)
        said_size = file.size if file.said_size is None else file.said_size
        route = f"{self.hub.url}/api/models/{name}/xet-read-token/{commit}"
        xet = {"X_Xet_Hash": XET_HASH, "X_Xet_Refresh_Route": route} if file.xet else {}
        return self.answer(
            302,
            b"",
            Location=f"{self.hub.bytes_url}/{name}/{commit}/{quote(path)}?signature={self.command}",
            X_Repo_Commit=commit,
            X_Linked_Etag=f'"{file.sha256}"',
            X_Linked_Size=str(said_size),
            ETag=f'"{file.sha256}"',
            **xet,
        )


class Bytes(_Handler):
    """Another host: it has never heard of tokens. Of a xet-backed file it takes no address that was given for HEAD."""

    def do_GET(self) -> None:
        from .hub import Asked

        owner, repo, commit, path = unquote(urlsplit(self.path).path)[1:].split("/", 3)
        file = self.hub.repos[f"{owner}/{repo}"].commits[commit][path]
        found = _RANGE.match(self.headers.get("Range") or "")
        start = int(found[1]) if found else 0
        stop = min(int(found[2]) + 1 if found and found[2] else file.size, file.size)
        self.hub.fetched.append(Asked(self.command, path, self.token, start, stop))
        if file.xet and urlsplit(self.path).query == "signature=HEAD":
            return self.answer(403)
        fault = self.hub.next_fault(path)
        if fault.status is not None:
            return self.refuse(fault)
        if fault.whole:
            found, start, stop = None, 0, file.size
        if start >= file.size:
            return self.answer(416, Content_Range=f"bytes */{file.size}")
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", f'"{file.sha256}"')
        self.end_headers()
        return self._send(path, file, fault, start, stop)

    def _send(self, path: str, file: File, fault: Fault, start: int, stop: int) -> None:
        end = stop if fault.cut is None else min(stop, start + fault.cut)
        if isinstance(file.content, Path) and fault == Fault():
            with file.content.open("rb") as source:
                self.connection.sendfile(source, start, end - start)
            return
        content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
        if fault.flip is not None:
            content = content[: fault.flip] + bytes([content[fault.flip] ^ 1]) + content[fault.flip + 1 :]
        piece = _PIECE if fault.rate is None else max(1, int(fault.rate / 50))
        for at in range(start, end, piece):
            part = content[at : min(at + piece, end)]
            self.wfile.write(part)
            with self.hub.lock:
                self.hub.sent[path] += len(part)
            if fault.rate is not None:
                time.sleep(len(part) / fault.rate)
        if end < stop:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(2)
