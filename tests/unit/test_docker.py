"""What hadolint and the compose schema cannot see: that the container files agree with the project."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.settings import Settings
from tests.support.paths import ROOT

DOCKERFILES = ("docker/Dockerfile", "docker/Dockerfile.cuda")
SERVICES = {"cpu": "docker/Dockerfile", "cuda": "docker/Dockerfile.cuda"}
Instruction = tuple[str, str]


def instructions(path: str) -> list[Instruction]:
    """(keyword, arguments) of each instruction, comments dropped and continuation lines joined."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.split("\n")) if word]


def final_stage(path: str) -> list[Instruction]:
    found = instructions(path)
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def argument(path: str, keyword: str) -> str:
    """The arguments of the last such instruction: the one that holds."""
    return [rest for word, rest in final_stage(path) if word == keyword][-1]


def environment(path: str) -> dict[str, str]:
    pairs = [pair for word, rest in final_stage(path) if word == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def health_command(path: str) -> list[str]:
    command: list[str] = json.loads(argument(path, "HEALTHCHECK").partition("CMD ")[2])
    return command


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    return document


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_container_runs_a_command_that_the_cli_has(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point is a script of the project, and it knows the command and its options."""
    (script,) = json.loads(argument(path, "ENTRYPOINT"))
    arguments = json.loads(argument(path, "CMD"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts[script] == "llama_tandem:main"

    from app.cli import main

    # Options are parsed, and an unknown one refused, before --help answers.
    monkeypatch.setattr("sys.argv", [script, *arguments, "--help"])
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main())
    assert not stop.value.code


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_container_listens_beyond_its_own_loopback(path: str) -> None:
    """A gateway on the container's 127.0.0.1 could not be published."""
    assert json.loads(argument(path, "CMD"))[-2:] == ["--host", "0.0.0.0"]
    assert argument(path, "EXPOSE") == environment(path)["TANDEM_PORT"] == "8000"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_every_tandem_variable_is_a_setting(path: str) -> None:
    """The gateway refuses a TANDEM_ variable that it does not know."""
    known = {f"TANDEM_{field.upper()}" for field in Settings.model_fields}
    assert {name for name in environment(path) if name.startswith("TANDEM_")} <= known


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_container_does_not_run_as_root(path: str) -> None:
    """The last USER is the fixed uid, set before anything is run or started as it."""
    stage = final_stage(path)
    user = argument(path, "USER")
    assert user == "10001"
    assert any(word == "RUN" and f"useradd --uid {user} " in rest for word, rest in stage)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_volumes_belong_to_the_user_before_they_are_declared(path: str) -> None:
    """What a later layer changes in a declared volume is lost."""
    words = [word for word, _ in final_stage(path)]
    assert words.index("RUN") < words.index("VOLUME")
    owned = next(rest for word, rest in final_stage(path) if word == "RUN" and "install --directory" in rest)
    folders = owned.partition("install --directory")[2].split()
    volumes = json.loads(argument(path, "VOLUME"))
    assert set(volumes) <= set(folders)
    assert {environment(path)["TANDEM_MODELS_DIR"], environment(path)["TANDEM_STATE_DIR"]} == set(volumes)
    assert Path(environment(path)["TANDEM_CACHE_DIR"]).is_relative_to(environment(path)["TANDEM_STATE_DIR"])


@pytest.mark.parametrize("path", DOCKERFILES)
def test_no_secret_in_a_layer(path: str) -> None:
    """ARG and ENV stay readable in the image's history."""
    named = [rest for word, rest in instructions(path) if word in ("ARG", "ENV")]
    assert named
    assert not [text for text in named if re.search(r"(?i)key|token|secret|passw|credential", text)]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_working_folder_cannot_be_imported(path: str) -> None:
    """The CUDA base keeps llama.cpp in /app, and our package is called `app`."""
    assert environment(path)["PYTHONSAFEPATH"] == "1"
    assert argument(path, "WORKDIR") == "/config"


def test_the_cuda_image_takes_back_what_its_base_sets() -> None:
    """The base starts llama-server on every interface; here only the gateway is public."""
    settings = environment("docker/Dockerfile.cuda")
    assert settings["LLAMA_ARG_HOST"] == "127.0.0.1"
    assert settings["TANDEM_LLAMA_SERVER"] == "/app/llama-server"
    assert environment("docker/Dockerfile")["TANDEM_LLAMA_SERVER"] == "embedded"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_health_is_asked_where_the_gateway_listens(path: str) -> None:
    """By Python itself, on the port of the environment, and the code is valid Python."""
    python, option, code = health_command(path)
    assert (python, option) == ("python", "-c")
    assert "'/health'" in code
    assert "os.environ['TANDEM_PORT']" in code
    compile(code, "healthcheck", "exec")


@pytest.mark.parametrize(("service", "path"), SERVICES.items())
def test_compose_agrees_with_the_image(compose: dict[str, Any], service: str, path: str) -> None:
    """Same paths, same port, same health check as the image that the service builds."""
    made = compose["services"][service]
    assert (ROOT / "docker" / made["build"]["context"] / made["build"]["dockerfile"]).resolve() == ROOT / path
    image = environment(path)
    pinned = {name: value for name, value in made["environment"].items() if name != "TANDEM_CONFIG"}
    assert pinned == {name: value for name, value in image.items() if name.startswith("TANDEM_")}

    mounts = {mount["target"]: mount for mount in made["volumes"]}
    assert set(mounts) == {*json.loads(argument(path, "VOLUME")), made["environment"]["TANDEM_CONFIG"]}
    config = mounts[made["environment"]["TANDEM_CONFIG"]]
    assert config["read_only"]
    assert Path(config["target"]).parent == Path(argument(path, "WORKDIR"))
    assert mounts[image["TANDEM_STATE_DIR"]]["source"] in compose["volumes"]
    assert made["healthcheck"]["test"] == ["CMD", *health_command(path)]


@pytest.mark.parametrize("service", SERVICES)
def test_compose_publishes_on_this_host_only(compose: dict[str, Any], service: str) -> None:
    """Opening the port to the network is a decision of its own."""
    (port,) = compose["services"][service]["ports"]
    assert port.startswith("127.0.0.1:")
    assert port.endswith(":8000")


@pytest.mark.parametrize("service", SERVICES)
def test_compose_waits_for_the_drain(compose: dict[str, Any], service: str) -> None:
    """Docker's SIGKILL comes after streams had their time and engines theirs."""
    fields = Settings.model_fields
    needed = fields["drain_timeout"].default + fields["stop_grace"].default
    assert seconds(compose["services"][service]["stop_grace_period"]) > needed


def test_a_service_is_started_by_name_only(compose: dict[str, Any]) -> None:
    """Both publish the same port, so neither starts by default."""
    assert {name: made["profiles"] for name, made in compose["services"].items()} == {n: [n] for n in SERVICES}


def test_the_build_context_holds_what_the_wheel_needs() -> None:
    """Everything is ignored but what pyproject.toml names."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert sent == {"pyproject.toml", "app", "llama_tandem", project["readme"], *project["license-files"]}
