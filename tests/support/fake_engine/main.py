"""The process: arguments, bind, load, serve, signals: in llama-server's order, with its exit codes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress

from .busy import busy
from .engine import Engine
from .failures import KINDS, die, fail_bind, fail_load
from .log import Log, write
from .options import PAGE, InvalidOptionError, Options
from .routes import Routes
from .wire import ClientGoneError, Connection


def main() -> None:
    if {"-h", "--help", "--usage"} & set(sys.argv):
        sys.stdout.write(PAGE.read_text())
        return
    if "--version" in sys.argv:
        write("version: 0.6.0-dev (build 0, commit fake)\nbuilt with Python for tests")
        return
    if "--list-devices" in sys.argv:
        gpu = os.environ.get("GGML_FAKE_GPU_MIB")
        line = f"CUDA0: A fake GPU ({gpu} MiB, {gpu} MiB free)" if gpu else "(none)"
        sys.stdout.write(f"Available devices:\n  {line}\n")
        return
    # Python's own handler would turn a SIGINT while loading into a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        options = Options(sys.argv[1:])
        if options.text("--fail-load") == "bad-device":
            raise options.bad_device("--device", options.text("--device", "CUDA9"))
    except InvalidOptionError as refused:
        write(str(refused))
        die()
    Server(options).run()


class Server:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._log = Log(options.on("--log-jsonl"))
        self._engine = Engine(options, self._log)
        self._routes = Routes(self._engine)
        self._open = 0
        self._changed = threading.Condition()
        self._woken, self._wake = os.pipe()
        self._signals = 0

    def run(self) -> None:
        self._log("I", "srv  llama_server: initializing ...")
        listener, url = self._bind()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        self._load()
        # only now: a SIGTERM while loading kills the real one too
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._engine.loaded.set()
        self._log("I", "srv  llama_server: model loaded")
        self._log("I", f"srv  llama_server: listening on {url}")
        self._watch_parent()
        # not an Event: a handler that runs inside its wait() may find its lock held by the thread it interrupts
        os.read(self._woken, 1)
        self._stop(listener)

    def _bind(self) -> tuple[socket.socket, str]:
        host, port = self._options.text("--host", "127.0.0.1").split(",")[0], self._options.whole("--port", 8080)
        if self._options.on("--bind-fails"):
            fail_bind(self._log, host, port)
        try:
            if host.endswith(".sock"):
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(host)
            else:
                listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
                port = listener.getsockname()[1]
            listener.listen(512)
        except OSError:
            fail_bind(self._log, host, port)
        return listener, f"unix://{host}" if host.endswith(".sock") else f"http://{host}:{port}"

    def _load(self) -> None:
        options, log = self._options, self._log
        model, draft = options.text("--model"), options.text("--model-draft")
        log("I", f"srv    load_model: loading model '{model}'")
        if options.on("--never-healthy"):
            threading.Event().wait()
        if not os.path.exists(model):  # noqa: PTH110 - pathlib's import would cost a tenth of the start
            fail_load("missing", log, model, draft)
        self._take_time()
        if draft:
            log("I", f"common_speculative_init_result: loading draft model '{draft}'")
            if not os.path.exists(draft):  # noqa: PTH110
                fail_load("draft", log, model, draft)
        self._fail_if_ordered(model, draft)
        if draft and options.on("--draft-inert"):
            log("E", "spec common_specu: the target and draft vocabs are not compatible")
            why = "draft model vocab type must match target model to use speculation"
            log("E", f"srv    load_model: failed to initialize speculative decoding context: {why}")
        engine = self._engine
        sizes = f"n_slots = {engine.slots}, n_ctx_slot = {engine.slot_context}, kv_unified = 'false'"
        log("I", f"srv    load_model: initializing, {sizes}")

    def _take_time(self) -> None:
        if file := self._options.text("--load-until"):
            while not os.path.exists(file):  # noqa: PTH110
                time.sleep(0.02)
        end = time.monotonic() + self._options.number("--load-seconds")
        if work := self._options.text("--busy-while-loading"):
            threading.Thread(target=busy, args=[work, end], daemon=True).start()
        pace = self._options.number("--log-while-loading")
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, pace or left))
            if pace:
                self._log("I", "cmn          load: still loading tensors")

    def _fail_if_ordered(self, model: str, draft: str) -> None:
        kind, first = self._options.text("--fail-load"), self._options.whole("--fail-first")
        if first:
            # one short write with O_APPEND, so two starts at once are two lines
            with open(self._options.text("--state-file"), "a+b", buffering=0) as file:  # noqa: PTH123
                file.write(b"start\n")
                file.seek(0)
                if file.read().count(b"\n") > first:
                    return
        if kind and kind not in KINDS:
            write(f"fake: --fail-load {kind}: known are {', '.join(KINDS)}")
            die(code=2)
        if kind or first:
            fail_load(kind or "memory-kv", self._log, model, draft)

    def _watch_parent(self) -> None:
        """llama-server's own protocol towards a parent that asks for it: it ends when its stdin does."""
        if "LLAMA_SERVER_ROUTER_PORT" in os.environ:
            write('cmd_child_to_router:state:{"state":"ready","payload":{}}', to=1)
            threading.Thread(target=self._read_parent, daemon=True).start()

    def _read_parent(self) -> None:
        for line in sys.stdin:
            if line.strip() == "cmd_router_to_child:exit":
                os.kill(os.getpid(), signal.SIGTERM)
                return
        die()

    def _on_signal(self, number: int, frame: object) -> None:
        if self._options.on("--ignore-sigterm"):
            return
        self._signals += 1
        if self._signals > 1:
            write("Received second interrupt, terminating immediately.")
            die()
        os.write(self._wake, b"!")

    def _stop(self, listener: socket.socket) -> None:
        """Refuses from now on, and waits for the open answers."""
        self._log("I", "srv    operator(): operator(): cleaning up before exit...")
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self._engine.stopping.set()
        with self._changed:
            while self._open:
                self._changed.wait(1)
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(Connection(sock),), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while connection.open and (request := connection.read()) is not None:
                self._count(1)
                try:
                    self._routes.serve(connection, request)
                finally:
                    self._count(-1)
        except (ClientGoneError, OSError, ValueError):
            pass
        finally:
            connection.close()

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()
