"""Keys from the command line to a gateway that runs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from app.records.database import Database
from app.records.usage import UsageStore
from tests.support.gateway import Gateway, eventually
from tests.support.ports import free_port

Make = Callable[..., Gateway]


def keys(gateway: Gateway, *args: str) -> str:
    done = gateway.command("keys", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ask(gateway: Gateway, key: str | None = None, model: str = "m") -> httpx2.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return gateway.client.post("/v1/chat/completions", json=body, headers=headers)


def test_a_key_counts_and_ends_without_a_restart(make_gateway: Make) -> None:
    """The first one closes the door to everybody else; nothing of it is logged."""
    gateway = make_gateway()
    assert ask(gateway).status_code == 200
    secret = keys(gateway, "create", "--name", "laptop", "--models", "m*", "--expires", "90d")
    eventually(lambda: ask(gateway).status_code == 401)
    assert ask(gateway, secret).status_code == 200
    listed = keys(gateway, "list")
    assert "laptop" in listed and secret not in listed
    keys(gateway, "revoke", "laptop")
    eventually(lambda: ask(gateway, secret).status_code == 401)
    assert ask(gateway).status_code == 401
    gateway.terminate()
    assert not [line for line in gateway.log if secret in str(line)]


def test_a_model_that_a_key_may_not_use_does_not_exist_for_it(make_gateway: Make) -> None:
    """On every API format: the same answer as for a name that nobody has, and no list that tells."""
    gateway = make_gateway()
    gateway.close()
    entry = gateway.settings["models"]["m"]
    gateway = make_gateway(models={"mine/m": entry, "theirs/m": entry})
    secret = keys(gateway, "create", "--name", "laptop", "--models", "mine/*")
    bearer = {"authorization": f"Bearer {secret}"}
    eventually(lambda: gateway.client.get("/v1/models").status_code == 401)
    for path, name in (("/v1/models", "data"), ("/api/tags", "models")):
        rows = gateway.client.get(path, headers=bearer).json()[name]
        assert [row.get("id") or row["name"] for row in rows] == ["mine/m"]
    for model in ("theirs/m", "theirs/m:plain", "nobodys"):
        shown = gateway.client.post("/api/show", json={"model": model}, headers=bearer)
        refused = ask(gateway, secret, model)
        assert (shown.status_code, refused.status_code) == (404, 404)
        assert "theirs" not in refused.text.replace(f"'{model}'", "") + shown.text.replace(model, "")
    assert ask(gateway, secret, "mine/m").status_code == 200
    assert gateway.client.get("/api/ps", headers=bearer).json()["models"][0]["name"] == "mine/m"


def test_keys_of_the_environment(make_gateway: Make) -> None:
    """For containers, where nobody runs a command; they are not printed."""
    gateway = make_gateway(env={"TANDEM_API_KEYS": "first-of-them, second-of-them"})
    assert [ask(gateway, key).status_code for key in (None, "first-of-them", "second-of-them")] == [401, 200, 200]
    assert gateway.client.get("/health").status_code == 200
    gateway.terminate()
    assert "-of-them" not in f"{gateway.log}{gateway.output}"


def limited(gateway: Gateway, *limits: str) -> str:
    """A key that the gateway knows already."""
    secret = keys(gateway, "create", "--name", "laptop", *limits)
    eventually(lambda: gateway.client.get("/v1/models", headers={"x-api-key": secret}).status_code == 200)
    eventually(lambda: gateway.client.get("/v1/models").status_code == 401)
    return secret


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["limit"]


def test_limits_are_told_by_name(make_gateway: Make) -> None:
    """429, when to come again, and other endpoints are not counted."""
    gateway = make_gateway()
    secret = limited(gateway, "--rpm", "2")
    assert [ask(gateway, secret).status_code for _ in range(2)] == [200, 200]
    assert refusal(ask(gateway, secret)) == (429, "rate_limit_exceeded", "rpm")


def test_tokens_of_answers_count(make_gateway: Make) -> None:
    """Those that went in and came out, of streams as well."""
    gateway = make_gateway()
    secret = limited(gateway, "--tpm", "5")
    headers = {"authorization": f"Bearer {secret}"}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with gateway.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as stream:
        stream.read()
    assert refusal(ask(gateway, secret)) == (429, "rate_limit_exceeded", "tpm")


def test_a_client_that_leaves_makes_room(make_gateway: Make) -> None:
    """Whatever ends a request ends its share of the concurrency."""
    gateway = make_gateway(args=["--tps", "20"])
    secret = limited(gateway, "--concurrency", "1")
    headers = {"authorization": f"Bearer {secret}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 1000}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as stream:
        chunks = stream.iter_raw()  # to let go of it would close the stream
        next(chunks)
        assert refusal(ask(gateway, secret)) == (429, "rate_limit_exceeded", "concurrency")
    eventually(lambda: ask(gateway, secret).status_code == 200)


def test_names_of_loopback_are_taken_as_clients_write_them(plain: Gateway) -> None:
    """And a foreign one, to which a web page may have led the browser, is not."""
    port = plain.client.base_url.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert plain.client.get("/v1/models", headers={"host": host}).status_code == 200
    refused = plain.client.get("/v1/models", headers={"host": "evil.example"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (421, "wrong_host")
    page = plain.client.post("/v1/chat/completions", content=b"{}", headers={"origin": "http://evil.example"})
    assert page.status_code == 403


def test_admin_on_a_port_of_its_own(make_gateway: Make) -> None:
    """On loopback, with the key that the gateway made; the public port knows nothing of it."""
    port = free_port()
    gateway = make_gateway(admin_port=port)
    path = "/admin/aliases/m/speculation"
    assert gateway.client.get(path, headers=gateway.admin).status_code == 404
    own = f"http://127.0.0.1:{port}{path}"
    assert gateway.client.get(own).status_code == 401
    assert gateway.client.get(own, headers=gateway.admin).json()["alias"] == "m"


def test_serve_refuses_a_network_without_keys(tmp_path: Path) -> None:
    """In words and at once; nothing has listened then."""
    (tmp_path / "tandem.yaml").write_text(
        f"state_dir: {tmp_path}\nport: {free_port()}\nmodels: {{m: {{url: 'http://127.0.0.1:1'}}}}"
    )
    command = [sys.executable, "-P", "-m", "app", "serve", "--host", "0.0.0.0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "--no-auth" in done.stderr and "Traceback" not in done.stderr


def test_usage_survives_a_kill(make_gateway: Make) -> None:
    """But for the last second; by the name of the key."""
    gateway = make_gateway(env={"TANDEM_API_KEYS": "from-the-environment"})
    answer = ask(gateway, "from-the-environment").json()["usage"]

    def recorded() -> list[dict[str, Any]]:
        return UsageStore(Database(Path(gateway.settings["state_dir"]))).read(["key", "alias"])

    eventually(recorded)
    gateway.process.kill()
    gateway.process.wait()
    [row] = recorded()
    assert (row["key"], row["alias"], row["requests"]) == ("env-1", "m", 1)
    assert (row["tokens_in"], row["tokens_out"]) == (answer["prompt_tokens"], answer["completion_tokens"])
    assert row["seconds"] > 0
