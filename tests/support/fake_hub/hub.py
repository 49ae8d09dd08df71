"""Two listeners: the Hub itself, and the host of the bytes that its `resolve` redirects to."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from .handlers import Bytes, Pages
from .repos import Content, Fault, File, Repo


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    token: str | None
    start: int | None = None
    stop: int | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: Any, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.cut()
        self.server_close()

    def cut(self) -> None:
        """Breaks every connection that is open now."""
        for request in list(self._open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


@dataclass
class FakeHub:
    """`asked` and `fetched` are the requests for pages and for bytes, in order; `sent` counts bytes by path."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fetched: list[Asked] = field(default_factory=list)
    sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    # By path in the repo: of the bytes, and of the pages by the first words of their path.
    faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    page_faults: deque[Fault] = field(default_factory=deque)
    # Entries a page of a tree, as the Hub's 1000.
    page_size: int = 3
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeHub:
        self._pages, self._bytes = _Server(Pages, self), _Server(Bytes, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._pages.stop()
        self._bytes.stop()

    @property
    def url(self) -> str:
        return self._pages.url

    @property
    def bytes_url(self) -> str:
        return self._bytes.url

    def add(self, name: str, files: Mapping[str, Content | File], **options: Any) -> Repo:
        """A repo with one commit."""
        repo = self.repos[name] = Repo(name, **options)
        repo.commit(files)
        return repo

    def order(self, path: str, *faults: Fault) -> None:
        """The next requests for the bytes of `path` meet these."""
        self.faults[path].extend(faults)

    def cut_all(self) -> None:
        """Breaks off the bytes that are on their way: what is asked for next meets the faults of then."""
        self._bytes.cut()

    def next_fault(self, path: str) -> Fault:
        with self.lock:
            waiting = self.faults[path]
            if not waiting:
                return Fault()
            return waiting[0] if waiting[0].stays else waiting.popleft()

    def next_page_fault(self) -> Fault | None:
        with self.lock:
            if not self.page_faults:
                return None
            return self.page_faults[0] if self.page_faults[0].stays else self.page_faults.popleft()
