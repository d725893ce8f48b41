"""docker-compose.yml and Dockerfile, held to config/processes.py without a Docker engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import yaml

from config import alive, processes
from config.env import ROOT, read

SERVERS = frozenset({"postgres", "valkey"})
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
ROLES = {name: service for name, service in SERVICES.items() if name not in SERVERS | {"migrate"}}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

SECRET = re.compile(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)([^}]*)\}")


def in_the_image() -> Mapping[str, str]:
    """The environment that the Dockerfile sets."""
    return dict(re.findall(r"(\w+)=(\S+)", DOCKERFILE[DOCKERFILE.rindex("\nENV ") :].split("\nCOPY")[0]))


def expected_commands() -> dict[str, list[str]]:
    given = {"SECRET_KEY": "s", "ADMIN_PASSWORD": "a", "FLOWER_PASSWORD": "f", **in_the_image()}
    commands = {name: list(argv) for name, argv in processes.commands(read(given)).items()}
    # A container's own loopback is out of reach; compose publishes Flower on the host's loopback instead.
    commands["flower"] = ["--address=0.0.0.0" if word.startswith("--address=") else word for word in commands["flower"]]
    python, manage = processes.MANAGE
    return {name: [{python: "python", manage: "manage.py"}.get(word, word) for word in argv] for name, argv in commands.items()}


def seconds(words: str) -> timedelta:
    parts = {unit: int(count) for count, unit in re.findall(r"(\d+)([ms])", words)}
    return timedelta(minutes=parts.get("m", 0), seconds=parts.get("s", 0))


def test_the_roles_are_the_programs_of_up_with_the_same_commands() -> None:
    assert {name: service["command"] for name, service in ROLES.items()} == expected_commands()


def test_the_image_starts_the_same_web_by_default() -> None:
    words = re.findall(r'"([^"]+)"', DOCKERFILE.splitlines()[-1])

    assert words == expected_commands()["web"]


def test_what_gives_way_on_a_shared_machine_has_a_smaller_share_of_it() -> None:
    shares = {name: service["cpu_shares"] for name, service in ROLES.items() if "cpu_shares" in service}

    assert set(shares) == set(processes.NICENESS)
    assert 1024 > shares["worker-p2"] > shares["worker-p3"]


def test_web_gathers_uploads_on_disk_and_not_in_its_memory() -> None:
    web = SERVICES["web"]

    assert [place.split(":")[0] for place in web["tmpfs"]] == ["/var/lib/gearbox"]
    assert "uploads:/tmp" in web["volumes"]


def test_migrate_runs_the_set_up_commands_before_every_role() -> None:
    lines = SERVICES["migrate"]["command"][-1].strip().splitlines()

    assert lines == [f"python manage.py {' '.join(words)}" for words in processes.SETUP]
    assert {service["depends_on"]["migrate"]["condition"] for service in ROLES.values()} == {"service_completed_successfully"}


@pytest.mark.parametrize("name", ROLES)
def test_every_role_asks_itself_whether_it_is_alive(name: str) -> None:
    assert ROLES[name]["healthcheck"]["test"] == ["CMD", "python", "manage.py", "alive", name]
    assert name in alive.CHECKS


def test_every_program_of_up_can_be_asked_whether_it_is_alive() -> None:
    assert set(alive.CHECKS) == set(expected_commands())


@pytest.mark.parametrize("name", ROLES)
def test_every_role_has_longer_to_stop_than_a_drain_takes(name: str) -> None:
    drain = timedelta(seconds=float(ROLES[name]["environment"]["DRAIN_S"]))

    assert seconds(ROLES[name]["stop_grace_period"]) > drain + processes.MARGIN_AFTER_DRAIN


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_is_asked_whether_it_is_ready_and_keeps_its_data(name: str) -> None:
    kept = [volume.split(":")[0] for volume in SERVICES[name]["volumes"]]

    assert SERVICES[name]["healthcheck"]["test"]
    assert set(kept) <= set(COMPOSE["volumes"])


def test_no_secret_has_a_default() -> None:
    found = SECRET.findall(TEXT)

    assert {name for name, _ in found} >= {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "SECRET_KEY", "ADMIN_PASSWORD", "FLOWER_PASSWORD"}
    for name, rest in found:
        assert rest.startswith(":?"), f"${{{name}{rest}}}"


def test_the_example_of_the_secrets_names_each_and_fills_in_none() -> None:
    lines = (ROOT / "docs" / "compose.env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if "=" in line)

    assert set(example) == {name for name, rest in re.findall(r"\$\{(\w+)(:\?)", TEXT)}
    assert set(example.values()) == {""}


def test_only_web_is_open_to_other_machines() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert set(ports) == {"web", "flower"}
    assert all(port.startswith("127.0.0.1:") for port in ports["flower"])


@pytest.mark.parametrize("name", [*ROLES, "migrate"])
def test_every_role_writes_to_its_volumes_alone_and_has_no_privileges(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits(name: str) -> None:
    assert set(SERVICES[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


def test_the_image_installs_pinned_packages_only_and_runs_without_root() -> None:
    installs = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if "pip install" in line]

    assert installs
    assert all("--require-hashes" in line for line in installs)
    assert "USER gearbox" in DOCKERFILE.splitlines()
    assert "://" not in DOCKERFILE


def test_the_image_copies_the_product_and_nothing_private() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert (ROOT / ".dockerignore").read_text().startswith("*\n")
    assert set(allowed) == {"agents", "config", "evals", "invocation", "quota", "LICENSE", "manage.py", "requirements.txt"}
