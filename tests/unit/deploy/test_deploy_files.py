"""Files for deployment name settings, commands, routes, ports and times as they are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from jobqueue.api.route_table import ROUTES
from jobqueue.cli.main import COMMANDS, cli
from jobqueue.settings import Settings, describe
from tests.support.docs.readme import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SETTINGS = Settings()
VARIABLES = {row.env for row in describe()} | {"JOBQUEUE_MONGO_URL_FILE", "JOBQUEUE_ADMIN_TOKEN_FILE"}
LEFT = 30
"""Seconds that a process may need to end after its drain timeout, to give jobs back and to end commands."""
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes/jobqueue.yaml").read_text()))
PODS = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in MANIFESTS if one["kind"] == "Deployment"}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
UNITS = sorted((DEPLOY / "systemd").iterdir())


def unit(path: Path) -> dict[str, list[str]]:
    """Return the lines of the section Service by their names."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names have capitals
    parser.read_string(path.read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]
    lines: dict[str, list[str]] = {}
    for line in path.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            lines.setdefault(name, []).append(value)
    return lines


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    for path in UNITS:
        yield path.name, dict(line.split("=", 1) for line in unit(path)["Environment"])
    (shared,) = [one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap"]
    for name, pod in PODS.items():
        (container,) = pod["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "jobqueue"}}]
        yield name, shared | {one["name"]: one["value"] for one in container["env"]}
    for name in ("server", "worker"):
        yield f"compose {name}", COMPOSE[name]["environment"]


def commands() -> Iterator[tuple[str, list[str]]]:
    for path in UNITS:
        (line,) = unit(path)["ExecStart"]
        program, *args = shlex.split(line)
        assert Path(program).name == "jobqueue"
        yield path.name, args
    for name, pod in PODS.items():
        yield name, pod["containers"][0]["args"]
    for name in ("server", "worker"):
        yield f"compose {name}", COMPOSE[name].get("command") or image_command()


def image_command() -> list[str]:
    entry, command = (json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (.+)$", DOCKERFILE, re.MULTILINE))
    assert entry == ["jobqueue"]
    return list(command)


@pytest.mark.parametrize(
    "path", sorted(path for path in DEPLOY.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_every_variable_is_a_setting(path: Path) -> None:
    assert set(re.findall(r"\bJOBQUEUE_[A-Z0-9_]+", path.read_text())) <= VARIABLES


@pytest.mark.parametrize(("name", "environment"), list(environments()))
def test_every_value_is_accepted(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    for variable, text in environment.items():
        if variable.endswith("_FILE"):
            assert re.match(r"%d/|/run/secrets/", text), name
            secret = tmp_path / variable
            secret.write_text("mongodb://db1,db2/?replicaSet=rs0" if "URL" in variable else "x" * 40)
            environment = environment | {variable: str(secret)}
        elif text.startswith("${"):
            environment = environment | {variable: "x" * 40}
    loaded = Settings.load({}, environ=environment, cwd=tmp_path)
    assert loaded.mongo_url, name
    # A server that others reach needs a token, and a worker none.
    assert (loaded.admin_token is None) == ("worker" in name)


@pytest.mark.parametrize(("name", "args"), list(commands()))
def test_every_command_takes_its_arguments(name: str, args: list[str]) -> None:
    command = cli.get_command(click.Context(cli), args[0])
    assert args[0] in COMMANDS, name
    assert command is not None
    command.make_context(args[0], list(args[1:]))


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_are_locked_up(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    user, group = (int(found) for found in re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0])
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert set(container["resources"]) == {"requests", "limits"}
    assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False


def test_probes_ask_open_routes_on_the_port_of_the_server() -> None:
    open_paths = {route.path for route in ROUTES if route.role is None}
    (container,) = PODS["jobqueue-server"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": SETTINGS.port}]
    probes = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
        "startupProbe": "/healthz",
    }
    assert {probe["path"] for probe in probes.values()} <= open_paths
    assert {probe["port"] for probe in probes.values()} == {"http"}
    (service,) = [one["spec"] for one in MANIFESTS if one["kind"] == "Service"]
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in MANIFESTS
        if "template" in one.get("spec", {})
    }
    assert service["selector"] == labels["jobqueue-server"] != labels["jobqueue-worker"]
    assert COMPOSE["server"]["ports"] == [f"127.0.0.1:{SETTINGS.port}:{SETTINGS.port}"]
    assert f"EXPOSE {SETTINGS.port}" in DOCKERFILE


def test_there_is_time_to_drain() -> None:
    drain = {
        name: float(variables.get("JOBQUEUE_DRAIN_TIMEOUT", SETTINGS.drain_timeout))
        for name, variables in environments()
    }
    times: dict[str, float] = {}
    for path in UNITS:
        service = unit(path)
        assert service["KillMode"] == ["mixed"]
        times[path.name] = float(service["TimeoutStopSec"][0])
    for name, pod in PODS.items():
        pause = (
            pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        )
        times[name] = pod["terminationGracePeriodSeconds"] - float(pause[1])
    for name in ("server", "worker"):
        times[f"compose {name}"] = float(COMPOSE[name]["stop_grace_period"].removesuffix("s"))
    assert {name: times[name] - drain[name] >= LEFT for name in times} == dict.fromkeys(drain, True)


def test_units_are_locked_up() -> None:
    for path in UNITS:
        service = {name: values[-1] for name, values in unit(path).items()}
        wanted = {
            "DynamicUser": "yes",
            "ProtectSystem": "strict",
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": "",
        }
        assert wanted.items() <= service.items()


def test_compose_has_a_replica_set_a_server_and_a_worker() -> None:
    assert list(COMPOSE) == ["mongo", "server", "worker"]
    url = COMPOSE["server"]["environment"]["JOBQUEUE_MONGO_URL"]
    assert url == COMPOSE["worker"]["environment"]["JOBQUEUE_MONGO_URL"]
    assert f"replicaSet={COMPOSE['mongo']['command'][1]}" in url
    for name in ("server", "worker"):
        assert (DEPLOY / COMPOSE[name]["build"] / "Dockerfile").exists()
        assert (COMPOSE[name]["read_only"], COMPOSE[name]["cap_drop"]) == (True, ["ALL"])
    source, target, mode = COMPOSE["worker"]["volumes"][0].split(":")
    assert (DEPLOY / source).exists()
    assert (Path(target).parent, mode) == (Path(re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1]), "ro")
    known: dict[str, Any] = {}
    exec(compile((DEPLOY / source).read_text(), source, "exec"), known)  # noqa: S102 - a file of this repository
    module, _, attribute = COMPOSE["worker"]["command"][1].partition(":")
    assert (module, list(known[attribute].handlers)) == (Path(target).stem, [("default", "greet")])
