"""Paths to answers: loading and key first, as in llama-server's middleware, then the endpoints."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .answers import Chat, Completions, Messages, Native, Responses
from .engine import Engine, Surface
from .wire import Connection, Request, error

LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
BAD_KEY = {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}
NOT_FOUND = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}
SURFACES: dict[str, Surface] = {
    "/v1/chat/completions": Chat(),
    "/chat/completions": Chat(),
    "/v1/completions": Completions(),
    "/completions": Native(),
    "/completion": Native(),
    "/v1/messages": Messages(),
    "/v1/responses": Responses(),
    "/responses": Responses(),
}
EMBEDDINGS = ("/v1/embeddings", "/embeddings", "/embedding")
RERANK = ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")
COUNTS = tuple(
    f"{v1}{path}"
    for v1 in ("", "/v1")
    for path in ("/messages/count_tokens", "/chat/completions/input_tokens", "/responses/input_tokens")
)


class Routes:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._options = engine.options
        self._keys = {key for key in engine.options.text("--api-key").split(",") if key}
        self._last: dict[str, Any] = {"count": 0}

    def serve(self, connection: Connection, request: Request) -> None:
        if request.path == "/__last_request":
            connection.answer(200, self._last)
            return
        if request.method == "POST":
            self._record(request)
        if request.method == "OPTIONS":
            connection.answer(200, "", kind="text/html")
        elif not self._engine.loaded.is_set():
            connection.answer(503, LOADING)
        elif request.path in ("/health", "/v1/health"):
            connection.answer(200, {"status": "ok"})
        elif not self._admits(request):
            self._engine.log("W", "srv    operator(): unauthorized: Invalid API Key")
            connection.answer(401, BAD_KEY)
        elif request.method == "GET":
            self._get(connection, request)
        elif request.method == "POST":
            self._post(connection, request)
        else:
            connection.answer(404, NOT_FOUND)

    def _record(self, request: Request) -> None:
        """What `GET /__last_request` shows: the last POST as it came, the body one character a byte."""
        self._last = {
            "count": self._last["count"] + 1,
            "method": request.method,
            "path": request.target,
            "headers": request.headers,
            "body": request.body.decode("latin-1"),
        }

    def _admits(self, request: Request) -> bool:
        if not self._keys or self._options.on("--wrong-key-ok"):
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return bearer in self._keys or request.headers.get("x-api-key") in self._keys

    def _get(self, connection: Connection, request: Request) -> None:
        if request.path == "/props":
            connection.answer(200, self._props())
        elif request.path == "/slots":
            self._slots(connection, request)
        elif request.path in ("/v1/models", "/models"):
            connection.answer(200, self._models())
        elif request.path == "/metrics":
            if self._options.on("--metrics"):
                connection.answer(200, self._metrics(), kind="text/plain; version=0.0.4")
            else:
                connection.answer(501, _unsupported("metrics endpoint", "--metrics"))
        else:
            connection.answer(404, NOT_FOUND)

    def _slots(self, connection: Connection, request: Request) -> None:
        engine, busy = self._engine, self._engine.busy
        if engine.hung.is_set():
            connection.sleep(3600)
        if not self._options.on("--slots", default=True):
            connection.answer(501, _unsupported("slots endpoint", "--slots"))
        elif "fail_on_no_slot" in request.query and len(busy) == engine.slots:
            connection.answer(503, error(503, "no slot available", "unavailable_error"))
        else:
            common = {"n_ctx": engine.slot_context, "speculative": self._options.drafting}
            slots = [
                {"id": slot, **common, "is_processing": slot in busy, **engine.files.row(slot)}
                for slot in range(engine.slots)
            ]
            connection.answer(200, slots)

    def _props(self) -> dict[str, Any]:
        engine = self._engine
        return {
            "default_generation_settings": {
                # the real one says "none" here even while it drafts
                "params": {"temperature": 0.8, "speculative.types": "none"},
                "n_ctx": engine.slot_context,
            },
            "total_slots": engine.slots,
            "model_alias": engine.model,
            "model_ftype": "F16",
            "model_path": self._options.text("--model"),
            "modalities": {"vision": False, "video": False, "audio": False},
            "endpoint_slots": self._options.on("--slots", default=True),
            "endpoint_props": False,
            "endpoint_metrics": self._options.on("--metrics"),
            "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            "chat_template_caps": {"supports_tools": False, "supports_system_role": True},
            "bos_token": "<s>",
            "eos_token": "</s>",
            "build_info": "b0-fake",
            "is_sleeping": False,
        }

    def _models(self) -> dict[str, Any]:
        name, context = self._engine.model, self._engine.slot_context
        meta: dict[str, Any] = {"vocab_type": 2, "n_vocab": 512, "n_ctx": context, "n_ctx_train": 2048, "n_embd": 64}
        meta |= {"n_params": 100_000, "size": 200_000, "ftype": "F16"}
        model = {"id": name, "aliases": [name], "tags": [], "object": "model", "created": 0, "owned_by": "llamacpp"}
        return {"models": [{"name": name, "model": name}], "object": "list", "data": [model | {"meta": meta}]}

    def _metrics(self) -> str:
        totals, engine = self._engine.totals, self._engine
        values = {
            "prompt_tokens_total": ("counter", totals["prompt"]),
            "tokens_predicted_total": ("counter", totals["predicted"]),
            "spec_decode_num_draft_tokens_total": ("counter", totals["drafted"]),
            "spec_decode_num_accepted_tokens_total": ("counter", totals["accepted"]),
            "spec_decode_num_drafts_total": ("counter", totals["drafts"]),
            "requests_processing": ("gauge", len(engine.busy)),
            "requests_deferred": ("gauge", engine.deferred),
        }
        lines = [f"# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}" for name, (kind, value) in values.items()]
        return "\n".join(lines) + "\n"

    def _post(self, connection: Connection, request: Request) -> None:
        if request.path.startswith("/slots/"):
            connection.answer(*self._engine.files.act(request))
            return
        try:
            body = json.loads(request.body)
        except ValueError as reason:
            message = f"[json.exception.parse_error.101] parse error at line 1, column 1: {reason}"
            connection.answer(400, error(400, message, "invalid_request_error"))
            return
        surface = SURFACES.get(request.path)
        if not isinstance(body, dict) or not isinstance(body.get("stream_options"), dict | None):
            message = "Field 'stream_options': type must be object"
            connection.answer(400, error(400, message, "invalid_request_error"))
        elif isinstance(surface, Chat | Messages) and "messages" not in body:
            connection.answer(400, error(400, "'messages' is required", "invalid_request_error"))
        elif surface is not None and self._options.on("--embeddings"):
            connection.answer(501, error(501, "This server does not support completions.", "not_supported_error"))
        elif surface is not None:
            self._engine.complete(connection, surface, body)
        else:
            connection.answer(*self._small(request.path, body))

    def _small(self, path: str, body: Any) -> tuple[int, object]:
        """Answers that need no slot; tokens are words, numbered by a hash that every run shares."""
        if path in EMBEDDINGS:
            return self._embed(path, body)
        if path in RERANK:
            if not self._options.on("--reranking"):
                return 501, _unsupported("reranking", "--reranking")
            ranks = [{"index": i, "relevance_score": -float(i)} for i in range(len(body.get("documents", [])))]
            return 200, {"model": self._engine.model, "object": "list", "usage": {"total_tokens": 1}, "results": ranks}
        if path == "/tokenize":
            return 200, {"tokens": [_number(word) for word in str(body.get("content", "")).split()]}
        if path == "/detokenize":
            return 200, {"content": " ".join(f"t{token}" for token in body.get("tokens", []))}
        if path == "/apply-template":
            lines = [f"{message.get('role')}: {message.get('content')}\n" for message in body.get("messages", [])]
            return 200, {"prompt": "".join(lines)}
        if path in COUNTS:
            return 200, {"input_tokens": len(json.dumps(body)) // 4 + 1}
        return 404, NOT_FOUND

    def _embed(self, path: str, body: Any) -> tuple[int, object]:
        if not self._options.on("--embeddings"):
            return 501, _unsupported("embeddings", "--embeddings")
        inputs = body["input"] if isinstance(body.get("input"), list) else [body.get("input", "")]
        vectors = [[_number(str(text)) / 512, 0.5, -0.5, 1.0] for text in inputs]
        if path != "/v1/embeddings":
            return 200, [{"index": i, "embedding": [vector]} for i, vector in enumerate(vectors)]
        data = [{"embedding": vector, "index": i, "object": "embedding"} for i, vector in enumerate(vectors)]
        usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
        return 200, {"model": self._engine.model, "object": "list", "usage": usage, "data": data}


def _unsupported(what: str, flag: str) -> dict[str, object]:
    return error(501, f"This server does not support {what}. Start it with `{flag}`", "not_supported_error")


def _number(word: str) -> int:
    return hashlib.blake2b(word.encode(), digest_size=2).digest()[0]
