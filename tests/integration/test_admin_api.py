"""What the page asks beside what it watches: bodies that are kept, keys, what the Hub offers, and examples of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.models.download.journal import FileVersion
from app.models.gguf.filenames import is_gguf
from app.models.hub import headers
from app.models.hub.client import Hub
from tests.support import tiny_models
from tests.support.architectures import write_llama
from tests.support.fake_hub import FakeHub
from tests.support.fake_hub.repos import File
from tests.support.gateway import Gateway, eventually, header_only
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model

Make = Callable[..., Gateway]


def admin(gateway: Gateway, method: str, path: str, status: int = 200, **more: Any) -> Any:
    response = gateway.client.request(method, path, headers=gateway.admin, **more)
    assert response.status_code == status, response.text
    return response.json()


# -- captures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_bodies_are_kept_where_the_setting_says_so(make_gateway: Make, stream: bool) -> None:
    """Of the last requests, for administrators alone, without a secret that somebody sent or that the settings hold."""
    gateway = make_gateway(captures=2, api_keys="some-secret-key,other-secret-key")
    assert len(gateway.logged("the last 2 requests")) == 1
    key = {"authorization": "Bearer some-secret-key"}
    said = "some-secret-key and sk-" + "a1B2" * 8
    for number in range(3):
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": f"{number}: {said}"}]}
        assert gateway.client.post("/v1/chat/completions", json=body, headers=key).status_code == 200
    rows = eventually(lambda: len(found := admin(gateway, "GET", "/admin/requests")["finished"]) == 3 and found)
    capture = admin(gateway, "GET", f"/admin/requests/{rows[0]['request_id']}/capture")
    content = json.loads(capture["sent"])["messages"][0]["content"]
    assert content == "2: [redacted] and [redacted]"
    assert capture["received"] and ("choices" in capture["received"]) is not stream
    missing = admin(gateway, "GET", f"/admin/requests/{rows[2]['id']}/capture", 404)
    assert "older than those kept" in missing["error"]["message"]
    assert gateway.client.get(f"/admin/requests/{rows[0]['id']}/capture", headers=key).status_code == 403
    assert all(secret not in json.dumps(rows) for secret in ("some-secret", "a1B2a1B2"))
    gateway.reload(captures=0)
    admin(gateway, "GET", f"/admin/requests/{rows[0]['id']}/capture", 404)


def test_without_the_setting_no_body_is_kept(make_gateway: Make) -> None:
    gateway = make_gateway()
    assert gateway.chat().status_code == 200
    [row] = eventually(lambda: admin(gateway, "GET", "/admin/requests")["finished"])
    assert row["captured"] is False
    missing = admin(gateway, "GET", f"/admin/requests/{row['id']}/capture", 404)
    assert "'captures' is 0" in missing["error"]["message"]


# -- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_made_by_the_page_counts_at_once(make_gateway: Make) -> None:
    """And no longer once it is revoked; it is told once and never an admin key."""
    gateway = make_gateway()
    made = admin(gateway, "POST", "/admin/keys", 201, json={"name": "laptop", "models": ["m*"], "expires": "1d"})
    assert made["first"] and made["key"].startswith("lt-") and not made["admin"]
    key = {"authorization": f"Bearer {made['key']}"}
    assert gateway.client.get("/v1/models").status_code == 401
    assert gateway.client.get("/v1/models", headers=key).status_code == 200
    [listed] = admin(gateway, "GET", "/admin/keys")["data"]
    assert (listed["name"], listed["models"]) == ("laptop", ["m*"]) and made["key"] not in json.dumps(listed)
    assert admin(gateway, "POST", "/admin/keys", 201, json={"name": "other"})["first"] is False
    admin(gateway, "DELETE", "/admin/keys/laptop")
    assert gateway.client.get("/v1/models", headers=key).status_code == 401
    assert gateway.client.post("/admin/keys", json={"name": "x"}, headers=key).status_code == 401


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a b"}, "name: 'a b' must be"),
        ({"name": "x", "expires": "90"}, "expires: '90' must be"),
        ({"name": "x", "models": []}, "models: name at least one"),
        ({"name": "x", "admin": True}, "'admin'"),
        ({"name": "x", "rpm": 0}, "'rpm'"),
        ({}, "'name'"),
    ],
)
def test_a_key_that_cannot_be_made_says_why(plain: Gateway, body: dict[str, Any], words: str) -> None:
    refused = admin(plain, "POST", "/admin/keys", 400, json=body)
    assert words in refused["error"]["message"]
    assert admin(plain, "GET", "/admin/keys")["data"] == []


# -- the Hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


def written(write: Callable[[Path], Any], path: Path) -> bytes:
    write(path)
    return path.read_bytes()


def test_what_fits_is_told_by_footprint_without_a_download(make_gateway: Make, hub: FakeHub, tmp_path: Path) -> None:
    """With drafts of the family, whose vocabulary is the target's; of each file no more than its header is fetched."""
    target = written(tiny_models.write_target, tmp_path / "target.gguf")
    draft = written(tiny_models.write_draft, tmp_path / "draft.gguf")
    foreign = written(write_llama, tmp_path / "foreign.gguf")
    large = target + bytes(8 << 20)
    hub.add("org/Tiny-70B-GGUF", {"Tiny-70B-Q4_K_M.gguf": large, "Tiny-70B-F16.gguf": File(large, said_size=10**15)})
    hub.add("org/Tiny-1B-GGUF", {"Tiny-1B-Q4_K_M.gguf": draft})
    hub.add("org/Tiny-2B-GGUF", {"Tiny-2B-Q4_K_M.gguf": foreign})
    own = str(header_only(tmp_path / "model.gguf"))
    gateway = make_gateway(models={"m": {"target": {"path": own}}}, env=hub_variables(hub, tmp_path))
    found = admin(gateway, "GET", "/admin/hub/search?text=tiny")["data"]
    assert {row["repo"] for row in found} == {"org/Tiny-70B-GGUF", "org/Tiny-1B-GGUF", "org/Tiny-2B-GGUF"}
    page = admin(gateway, "GET", "/admin/hub/repos/org/Tiny-70B-GGUF?drafts=true&context=1024")
    rows = {row["name"]: row for row in page["data"]}
    assert [draft["name"] for draft in page["drafts"]] == ["org/Tiny-1B-GGUF:Q4_K_M"]
    assert (rows["Q4_K_M"]["fits"], rows["F16"]["fits"]) == ("fits", "does not fit")
    assert rows["Q4_K_M"]["needs"] > rows["Q4_K_M"]["size"] == len(large)
    assert "draft: {repo: org/Tiny-1B-GGUF, quantization: Q4_K_M}" in rows["Q4_K_M"]["entry"]
    assert "1,024 tokens" in page["basis"][0]
    assert hub.sent["Tiny-70B-Q4_K_M.gguf"] < len(large)
    # What a smaller budget leaves: first the draft does not fit, then nothing does
    needs, with_draft = rows["Q4_K_M"]["needs"], page["drafts"][0]["needs"]
    for budget, fits in ((needs + with_draft - 1, "fits without draft"), (needs - 1, "does not fit")):
        gateway.reload(memory={"host": budget, "CUDA0": 0})
        page = admin(gateway, "GET", "/admin/hub/repos/org/Tiny-70B-GGUF?drafts=true&context=1024")
        assert page["data"][0]["fits"] == fits, budget
    assert "draft" not in page["data"][0]["entry"]
    folder = Path(gateway.settings["cache_dir"]) / "headers"
    assert len(list(folder.iterdir())) == 3 and not list(folder.glob("*.part"))


def test_what_the_hub_refuses_is_said(make_gateway: Make, hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/odd-GGUF", {"odd-Q4_K_M.gguf": b"no GGUF at all"})
    gateway = make_gateway(env=hub_variables(hub, tmp_path))
    assert "not on the Hub" in admin(gateway, "GET", "/admin/hub/repos/org/none", 400)["error"]["message"]
    assert "not the name of a repo" in admin(gateway, "GET", "/admin/hub/repos/none", 400)["error"]["message"]
    assert "'text'" in admin(gateway, "GET", "/admin/hub/search", 400)["error"]["message"]
    page = admin(gateway, "GET", "/admin/hub/repos/org/odd-GGUF?drafts=true")
    assert "not a GGUF file" in page["basis"][0] and page["drafts"] == []


def test_the_last_headers_are_kept(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the cache does not grow with every repo that somebody looks at; one that is here is not fetched again."""
    monkeypatch.setattr(headers, "_KEPT", 2)
    for number in range(3):
        hub.add(f"org/m{number}", {f"m{number}.gguf": model(1000 + number)})
    client = Hub(hub.url)
    for number in (0, 1, 2, 2):
        listing = client.listing(f"org/m{number}")
        file = listing.files[f"m{number}.gguf"]
        identity = FileVersion(listing.repo, f"m{number}.gguf", listing.revision, file.digest, file.size)
        last = headers.header_file(client, identity, tmp_path / "headers")
    assert len(list((tmp_path / "headers").iterdir())) == 2 and last.is_file()
    assert [asked.path for asked in hub.fetched].count(hub.fetched[-1].path) == 1


# -- what cannot be planned, and examples ----------------------------------------------------------------------------


def test_a_model_that_cannot_be_planned_is_no_fault_of_the_gateway(make_gateway: Make, tmp_path: Path) -> None:
    """A missing file and one that is no GGUF: 503 with the reason, and never 500."""
    (tmp_path / "text.gguf").write_text("hello")
    models = {name: {"target": {"path": str(tmp_path / f"{name}.gguf")}} for name in ("gone", "text")}
    gateway = make_gateway(models=models)
    for name, code in (("gone", "files_missing"), ("text", "unusable_file")):
        error = admin(gateway, "GET", f"/admin/engines/{name}/plan", 503)["error"]
        assert error["code"] == code and f"{name}.gguf" in error["message"]
    assert admin(gateway, "GET", "/admin/models/gone/speculation", 503)["error"]["code"] == "files_missing"


def shape(value: Any) -> Any:
    """The names of fields, of the first row of a list, and no value."""
    if isinstance(value, dict):
        return {
            name: shape(each) if name in ("data", "finished", "next_start") else None for name, each in value.items()
        }
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_examples_have_the_fields_that_a_gateway_answers(make_gateway: Make) -> None:
    """Each operation of the admin API has one."""
    gateway = make_gateway(captures=5)
    assert gateway.chat().status_code == 200
    admin(gateway, "POST", "/admin/keys", 201, json={"name": "laptop"})
    page = admin(gateway, "GET", "/openapi.json")
    examples = {}
    for path, verbs in page["paths"].items():
        for verb, about in verbs.items():
            if path.startswith("/admin"):
                status, answer = next((s, a) for s, a in about["responses"].items() if s.startswith("2"))
                kinds = answer.get("content", {})
                examples[verb, path] = [kind["example"] for kind in kinds.values() if "example" in kind]
                assert examples[verb, path] or status == "204", (verb, path)
                if verb == "post" and "requestBody" in about:
                    assert "example" in about["requestBody"]["content"]["application/json"], path
    eventually(lambda: admin(gateway, "GET", "/admin/history")["data"])
    eventually(lambda: admin(gateway, "GET", "/admin/requests")["finished"])
    paths = ("engines", "decisions", "memory", "history", "keys")
    asked = {f"/admin/{name}": f"/admin/{name}" for name in paths}
    asked |= {"/admin/models/{alias}/speculation": "/admin/models/m/speculation"}
    asked |= {"/admin/engines/{alias}/plan": "/admin/engines/m/plan"}
    asked |= {"/admin/requests/{request_name}/capture": "/admin/requests/1/capture"}
    for path, real in asked.items():
        assert shape(examples["get", path][0]) == shape(admin(gateway, "GET", real)), path
    finished = admin(gateway, "GET", "/admin/requests")["finished"]
    assert shape(examples["get", "/admin/requests"][0]["finished"]) == shape(finished)
    assert is_gguf(f"{examples['get', '/admin/hub/repos/{repo}'][0]['data'][0]['name']}.gguf")
