"""The page over HTTP: its files, its session, what it watches and ends. A fake engine answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.web.files import page_files
from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OURS = {"sec-fetch-site": "same-origin"}


def sign_in(gateway: Gateway, link: str) -> httpx2.Response:
    return gateway.client.post("/ui/session", json={"link": link}, headers=OURS)


def link_of(gateway: Gateway) -> str:
    """By the command, as a person asks for it."""
    done = gateway.command("open", "--no-browser")
    match = re.match(rf"{gateway.url}/ui#link=([\w-]{{43}})\n", done.stdout)
    assert match, done
    return match[1]


def watched(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    """Id, name and data of each event."""
    fields: dict[str, str] = {}
    for line in lines:
        if line == "" and "data" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def test_a_browser_gets_the_page_and_a_program_json(make_gateway: Make) -> None:
    """With keys, too: the page's files tell nothing of the gateway."""
    gateway = make_gateway(api_keys="some-secret-key")
    for path in ("/", "/ui", "/ui/", "/docs"):
        page = gateway.client.get(path, headers=HTML)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';") and "unsafe" not in policy and "http" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
    assert gateway.client.get("/").status_code == 401
    key = {"authorization": "Bearer some-secret-key"}
    assert gateway.client.get("/", headers=key).json()["name"] == "llama-tandem"
    assert gateway.client.head("/").status_code == 200
    assert gateway.client.get("/ui/nothing.js").status_code == 404
    assert gateway.client.get("/ui/../main.py").status_code in (401, 404)
    assert gateway.client.get("/ui/%2e%2e/files.py").status_code in (401, 404)


def test_each_file_of_the_page_is_served_with_its_type(make_gateway: Make) -> None:
    """The whole is small, names nothing of elsewhere, and a browser that has a file does not get it again."""
    gateway = make_gateway()
    files = page_files()
    assert sum(len(file.content) for file in files.values()) < 150_000
    for name, file in files.items():
        answer = gateway.client.get(f"/ui/{name}")
        assert (answer.status_code, answer.content) == (200, file.content)
        again = gateway.client.get(f"/ui/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert gateway.client.head(f"/ui/{name}").headers["content-length"] == str(len(file.content))
    for name, file in files.items():
        for imported in re.findall(rb'(?:from|import\()\s*"\./([\w.]+)"', file.content):
            assert imported.decode() in files, (name, imported)
    index = files["index.html"].content.decode()
    assert not re.search(r'(?:src|href)="(?!/ui/|#)', index)
    assert all(f[len("/ui/") :] in files for f in re.findall(r'(?:src|href)="(/ui/[^"]+)"', index))


def test_a_link_signs_one_browser_in_as_the_administrator(make_gateway: Make) -> None:
    gateway = make_gateway()
    link = link_of(gateway)
    assert gateway.client.get("/ui/session").json() | {"version": ""} == {
        "version": "",
        "key": None,
        "admin": False,
        "key_needed": False,
    }
    foreign = gateway.client.post("/ui/session", json={"link": link}, headers={"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    begun = sign_in(gateway, link)
    assert (begun.json()["key"], begun.json()["admin"]) == ("local", True)
    cookie = begun.headers["set-cookie"]
    port = gateway.url.rpartition(":")[2]
    assert cookie.startswith(f"tandem_session_{port}=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert sign_in(gateway, link).status_code == 401
    for headers, status in (
        (OURS, 200),
        ({}, 401),
        ({"sec-fetch-site": "none"}, 401),
        ({"sec-fetch-site": "same-site"}, 401),
        ({"origin": gateway.url}, 200),
    ):
        assert gateway.client.get("/admin/engines", headers=headers).status_code == status, headers
    assert gateway.client.delete("/ui/session", headers=OURS).status_code == 200
    gateway.client.cookies.clear()
    gateway.client.cookies.set(*cookie.partition(";")[0].split("=", 1))
    assert gateway.client.get("/admin/engines", headers=OURS).status_code == 401


def test_a_key_begins_a_session_of_what_it_may(make_gateway: Make) -> None:
    """A plain key's session is no administrator's, and ends with the key."""
    gateway = make_gateway()
    made = gateway.command("keys", "create", "--name", "plain")
    secret = re.search(r"lt-[\w-]{43}", made.stdout)
    assert secret, made
    eventually(lambda: gateway.client.get("/v1/models").status_code == 401)
    wrong = gateway.client.post("/ui/session", json={}, headers=OURS | {"authorization": "Bearer wrong"})
    assert wrong.status_code == 401 and gateway.client.post("/ui/session", json={}, headers=OURS).status_code == 401
    begun = gateway.client.post("/ui/session", json={}, headers=OURS | {"authorization": f"Bearer {secret[0]}"})
    assert (begun.json()["key"], begun.json()["admin"], begun.json()["key_needed"]) == ("plain", False, True)
    assert gateway.client.get("/v1/models", headers=OURS).status_code == 200
    assert gateway.client.get("/v1/models").status_code == 401
    assert gateway.client.get("/admin/engines", headers=OURS).status_code == 403
    assert gateway.client.post("/admin/links", headers=OURS).status_code == 403
    gateway.command("keys", "revoke", "plain")
    eventually(lambda: gateway.client.get("/v1/models", headers=OURS).status_code == 401)


def test_events_begin_with_a_snapshot_and_go_on_where_they_broke_off(make_gateway: Make) -> None:
    """What changed in between comes first; after a restart, whose numbers are others, the snapshot does."""
    gateway = make_gateway()
    with gateway.client.stream("GET", "/admin/events", headers=gateway.admin) as stream:
        events = watched(stream.iter_lines())
        number, kind, snapshot = next(events)
        assert kind == "snapshot" and snapshot.keys() == {"gateway", "engines", "requests", "pulls", "decisions"}
        assert snapshot["engines"]["m"]["state"] in ("stopped", "starting", "ready")
        assert snapshot["gateway"]["self"].keys() == {
            "version",
            "started",
            "engine",
            "loaded",
            "max_loaded",
            "captures",
        }
        assert "llama-server" in snapshot["gateway"]["self"]["engine"]
        assert snapshot["engines"]["m"].keys() >= {"context", "build", "footprint", "repo"}
        assert gateway.chat().status_code == 200
        finished: list[dict[str, Any]] = []
        while not finished:
            number, kind, change = next(events)
            assert kind == "change"
            finished = change.get("finished", [])
    assert (finished[0]["model"], finished[0]["status"]) == ("m", 200) and finished[0]["completion_tokens"] > 0
    assert gateway.chat().status_code == 200
    headers = gateway.admin | {"last-event-id": number}
    with gateway.client.stream("GET", "/admin/events", headers=headers) as stream:
        _, kind, change = next(watched(stream.iter_lines()))
        assert kind == "change" and [row["status"] for row in change["finished"]] == [200]
    for unknown in ("0-0", "nonsense", f"{number}999"):
        headers = gateway.admin | {"last-event-id": unknown}
        with gateway.client.stream("GET", "/admin/events", headers=headers) as stream:
            assert next(watched(stream.iter_lines()))[1] == "snapshot"
    assert gateway.client.get("/admin/events").status_code == 401


def test_a_follower_does_not_hold_the_gateways_end_up(make_gateway: Make) -> None:
    gateway = make_gateway()
    with gateway.client.stream("GET", "/admin/events", headers=gateway.admin) as stream:
        events = watched(stream.iter_lines())
        next(events)
        assert gateway.terminate(within=15) == 0


@pytest.mark.parametrize("streamed", [True, False])
def test_a_cancelled_request_tells_its_client(make_gateway: Make, streamed: bool) -> None:
    """An error in the stream, or a status where nothing was sent yet; the engine is free again."""
    gateway = make_gateway(args=["--tps", "20"])
    body = {"max_tokens": 5000, "stream": streamed}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(gateway.chat, **body)

        def running() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = gateway.client.get("/admin/requests", headers=gateway.admin).json()["data"]
            return [row for row in found if row["state"] != "waiting"]

        [row] = eventually(running)
        assert (row["model"], row["request"]) == ("m", "POST /v1/chat/completions")
        ended = gateway.client.delete(f"/admin/requests/{row['id']}", headers=gateway.admin)
        assert [each["request_id"] for each in ended.json()["data"]] == [row["request_id"]]
        try:
            answer = asked.result(30)
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "request_cancelled"
        except httpx2.RemoteProtocolError:
            assert streamed  # aborted behind the error event: an answer without its end
    again = gateway.client.delete(f"/admin/requests/{row['id']}", headers=gateway.admin)
    assert (again.status_code, again.json()["error"]["code"]) == (404, "request_not_found")
    last = eventually(lambda: gateway.client.get("/admin/requests?limit=1", headers=gateway.admin).json()["finished"])[
        0
    ]
    assert last["request_id"] == row["request_id"] and "administrator" in last["error"]
    assert gateway.chat().status_code == 200


def test_a_log_and_a_command_line_of_each_engine(make_gateway: Make, tmp_path: Path) -> None:
    """No key of the engine stands in either."""
    gateway = make_gateway()
    assert gateway.chat().status_code == 200
    lines = gateway.client.get("/admin/engines/m/log?lines=500", headers=gateway.admin).json()["data"]
    assert any("model loaded" in line["event"] for line in lines)
    with gateway.client.stream("GET", "/admin/engines/m/log?lines=3&follow=true", headers=gateway.admin) as stream:
        _, kind, first = next(watched(stream.iter_lines()))
        assert kind == "lines" and len(first["lines"]) == 3
    plan = gateway.client.get("/admin/engines/m/plan", headers=gateway.admin).json()
    _, key = gateway.engine("m")
    assert plan["running"] and "--alias m" in plan["command"] and key not in json.dumps([plan, lines])
    for path in ("/admin/engines/nobody/log", "/admin/engines/nobody/plan"):
        assert gateway.client.get(path, headers=gateway.admin).status_code == 404


def test_each_minute_is_in_the_history(make_gateway: Make) -> None:
    """Of the models that were asked, the newest first; nothing before the time that is asked for."""
    gateway = make_gateway(args=["--tps", "200"])
    for _ in range(3):
        assert gateway.chat(max_tokens=5).status_code == 200

    def rows(query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gateway.client.get(f"/admin/history{query}", headers=gateway.admin).json()["data"]
        return found

    eventually(lambda: sum(row["requests"] for row in rows()) == 3)
    assert {(row["model"], row["mode"], row["at"] % 60) for row in rows("?alias=m")} == {("m", "none", 0)}
    assert sum(row["tokens"] for row in rows()) == 15 and all(row["tokens_per_second"] > 0 for row in rows())
    assert rows("?since=99999999999") == []
    assert gateway.client.get("/admin/history?alias=nobody", headers=gateway.admin).status_code == 404
    assert gateway.client.get("/admin/history?since=x", headers=gateway.admin).status_code == 400
