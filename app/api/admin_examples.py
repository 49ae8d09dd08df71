"""Examples for the OpenAPI page: the request and the response of each operation of `/admin`.

One alias, one request: the values fit each other, and a test holds their fields to what a gateway answers.
"""

from __future__ import annotations

from typing import Any

_ALIAS, _DRAFT = "unsloth/Qwen3-32B-GGUF", "unsloth/Qwen3-0.6B-GGUF"
_AT = 1795779793.819
_ENGINE: dict[str, Any] = {
    "alias": _ALIAS,
    "state": "ready",
    "since": _AT,
    "reason": "a request waits for it",
    "host": "local",
    "pid": 4242,
    "port": 8001,
    "slots": 4,
    "in_flight": 1,
    "waiting": 0,
    "mode": "draft-simple",
    "last_used": _AT + 60,
    "unloads_at": None,
    "pinned": False,
    "retry_after": None,
    "load_seconds": 12.5,
    "loading": None,
    "diagnosis": None,
}
_LIVE = {"context": 8192, "memory": 1_200_000_000, "acceptance": 0.62, "tok_s": 48.1}
_DECISION = {
    "at": _AT,
    "alias": _ALIAS,
    "decision": "started",
    "why": "a request waits for it",
    "words": f"started {_ALIAS}: a request waits for it",
}
_PLACE = {
    "name": "CUDA0",
    "total": 25_757_220_864,
    "others": 500_000_000,
    "budget": 24_183_479_040,
    "engines": {_ALIAS: 20_400_000_000},
    "free": 3_783_479_040,
    "node": "local",
}
_NODE = {
    "name": "gpu-2",
    "state": "ready",
    "address": "10.0.0.12",
    "engines": 1,
    "llama_server": "llama-server 11434",
    "why": "",
}
_FIGURES = {
    "draft-simple": {
        "goodput": {"1": 48.1, "2-3": 80.4},
        "gain": {"mean": 0.41, "low": 0.3, "high": 0.53},
        "requests": 120,
        "cold_starts": 4,
    }
}
_CHOICE = {
    "mode": "draft-simple",
    "why": "draft-simple: +41.0% (90 % interval +30.0% to +53.0%) against plain decoding.",
}
_PULL: dict[str, Any] = {
    "object": "pull",
    "id": "5f3a9c01",
    "name": f"hf:{_ALIAS}:Q4_K_M",
    "state": "running",
    "error": None,
    "phase": "downloading",
    "received": 8_500_000_000,
    "size": 19_800_000_000,
    "percent": 42.9,
    "rate": 112_000_000,
    "seconds_left": 101,
    "notes": [],
    "created_at": _AT,
    "ended_at": None,
}
_RUNNING: dict[str, Any] = {
    "id": "17",
    "request_id": "b1946ac92492d2347c6235b4d2611184",
    "request": "POST /v1/chat/completions",
    "model": _ALIAS,
    "key": "laptop",
    "client": "key laptop",
    "at": _AT,
    "state": "answering",
    "before": None,
    "seconds": 2.1,
    "tokens": 80,
    "ttft": 0.41,
    "tok_s": 47.3,
}
_FINISHED: dict[str, Any] = {
    "id": "16",
    "request_id": "591785b794601e212b260e25925636fd",
    "request": "POST /v1/chat/completions",
    "model": _ALIAS,
    "mode": "draft-simple",
    "key": "laptop",
    "at": _AT,
    "status": 200,
    "error": "",
    "seconds": 3.2,
    "ttft": 0.39,
    "tokens_per_second": 48.1,
    "prompt_tokens": 900,
    "cached_tokens": 512,
    "completion_tokens": 130,
    "drafted": 210,
    "accepted": 131,
    "captured": False,
}
_OFFER = {
    "name": "Q4_K_M",
    "size": 19_800_000_000,
    "files": 1,
    "complete": True,
    "pull": {"name": f"hf:{_ALIAS}:Q4_K_M"},
    "needs": 22_000_000_000,
    "fits": "fits",
    "where": "devices",
    "disk": True,
    "here": None,
    "entry": f"models:\n  {_ALIAS}:\n    target: {{repo: {_ALIAS}, quantization: Q4_K_M}}\n",
}
_DRAFT_OFFER = {
    "name": f"{_DRAFT}:Q4_K_M",
    "source": {"repo": _DRAFT, "quantization": "Q4_K_M"},
    "size": 397_000_000,
    "needs": 900_000_000,
    "reason": "Target and draft have the same tokens.",
    "here": False,
    "outcome": "compatible",
}
_KEY = {
    "name": "laptop",
    "admin": False,
    "rpm": 60,
    "tpm": None,
    "concurrency": None,
    "created": _AT,
    "expires": None,
    "models": ["*"],
    "valid": True,
}
_ENTRY = {"target": {"repo": _ALIAS, "quantization": "Q4_K_M"}}
_ADDED = {"alias": "try", "entry": _ENTRY, "warnings": []}
_MINUTE = {
    "at": 1795779780,
    "model": _ALIAS,
    "mode": "draft-simple",
    "requests": 3,
    "tokens": 390,
    "drafted": 620,
    "accepted": 391,
    "ttft": 0.4,
    "tokens_per_second": 48.1,
}
_LINE = {"event": "main: model loaded", "at": _AT, "level": "engine", "alias": _ALIAS}


def _list(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(rows), **more}


ANSWERS: dict[tuple[str, str], Any] = {
    ("get", "/admin/engines"): _list(_ENGINE | _LIVE),
    ("get", "/admin/decisions"): _list(_DECISION),
    ("post", "/admin/models/{alias}/{verb}"): _ENGINE,
    ("get", "/admin/memory"): _list(_PLACE, known=True),
    ("get", "/admin/nodes"): _list(_NODE, address="10.0.0.11:6379", trouble=""),
    ("get", "/admin/models/{alias}/speculation"): {
        "alias": _ALIAS,
        "requested": "auto",
        "active": True,
        "mode": "draft-simple",
        "reason": "",
        "why": _CHOICE["why"],
        "next_start": _CHOICE | {"figures": _FIGURES},
        "figures": _FIGURES,
    },
    ("post", "/admin/reload"): {
        "changed": [_ALIAS],
        "added": [],
        "removed": [],
        "restarted": [],
        "settings": ["ttl"],
        "restart_needed": [],
        "warnings": [],
    },
    ("get", "/admin/models"): _list(_ADDED),
    ("post", "/admin/models"): _ADDED,
    ("get", "/admin/pulls"): _list(_PULL),
    ("post", "/admin/pulls"): _PULL,
    ("get", "/admin/pulls/{pull_id}"): _PULL,
    ("delete", "/admin/pulls/{pull_id}"): _PULL | {"state": "cancelled", "error": "cancelled", "ended_at": _AT + 9},
    ("get", "/admin/engines/{alias}/log"): _list(_LINE),
    ("get", "/admin/engines/{alias}/plan"): {
        "alias": _ALIAS,
        "running": True,
        "command": f"llama-server --model /models/qwen3.gguf --alias {_ALIAS} --ctx-size 32768 --port 8001",
        "notes": ["draft: the draft's context is the target's"],
    },
    ("get", "/admin/history"): _list(_MINUTE),
    ("get", "/admin/hub/search"): _list({"repo": _ALIAS, "downloads": 91_000, "likes": 60, "gated": False}),
    ("get", "/admin/hub/repos/{repo}"): _list(
        _OFFER, repo=_ALIAS, revision="c" * 40, context=8192, basis=["The estimate counts ..."], drafts=[_DRAFT_OFFER]
    ),
    ("get", "/admin/keys"): _list(_KEY),
    ("post", "/admin/keys"): _KEY | {"key": "lt-...", "first": False},
    ("delete", "/admin/keys/{name}"): {"name": "laptop", "revoked": True},
    ("get", "/admin/requests"): _list(_RUNNING, finished=[_FINISHED]),
    ("delete", "/admin/requests/{request_name}"): _list(_RUNNING),
    ("get", "/admin/requests/{request_name}/capture"): {
        "id": "16",
        "request_id": _FINISHED["request_id"],
        "request": "POST /v1/chat/completions",
        "sent": f'{{"model":"{_ALIAS}","messages":[{{"role":"user","content":"Hello"}}]}}',
        "received": "Hello! How can I help?",
        "cut": False,
    },
    ("post", "/admin/links"): {"link": "pFz0cQ...", "expires_in": 60.0},
}
BODIES: dict[tuple[str, str], Any] = {
    ("post", "/admin/models"): {"alias": "try", **_ENTRY},
    ("post", "/admin/pulls"): {"name": f"hf:{_ALIAS}:Q4_K_M"},
    ("post", "/admin/keys"): {"name": "laptop", "expires": "90d"},
}
# Text, not JSON
_PULL_EVENT = 'data: {"object":"pull","id":"5f3a9c01","state":"running","percent":42.9}\n\n'
STREAMS: dict[tuple[str, str], tuple[str, str]] = {
    ("get", "/admin/logs"): (
        "application/x-ndjson",
        '{"event": "engine ready", "at": 1795779793.8, "level": "info"}\n',
    ),
    ("get", "/admin/pulls/{pull_id}/events"): ("text/event-stream", _PULL_EVENT),
}


def add_examples(page: dict[str, Any]) -> None:
    """Adds the examples to the OpenAPI page, in place."""
    for (method, path), example in ANSWERS.items():
        _answer(page["paths"][path][method])["application/json"]["example"] = example
    for (method, path), example in BODIES.items():
        page["paths"][path][method]["requestBody"]["content"]["application/json"]["example"] = example
    for (method, path), (kind, text) in STREAMS.items():
        _answer(page["paths"][path][method])[kind] = {"schema": {"type": "string"}, "example": text}


def _answer(operation: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of an operation's successful response."""
    responses: dict[str, Any] = operation["responses"]
    content: dict[str, Any] = next(
        answer.setdefault("content", {}) for status, answer in responses.items() if status.startswith("2")
    )
    return content
