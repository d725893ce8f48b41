"""Choosing a provider by its name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agents.domain.values import Tier
from agents.gateways.providers import MODELS, UnknownProvider, build
from agents.gateways.providers.choice import PACKAGES
from agents.gateways.providers.lengths import LENGTHS


@pytest.mark.parametrize("name", list(MODELS))
async def test_every_provider_that_has_models_can_be_built(name: str) -> None:
    provider = build(name, base_url="http://127.0.0.1:1/v1", api_key="any")

    assert provider.name == name
    await provider.aclose()


@pytest.mark.parametrize("name", list(MODELS))
def test_every_provider_names_a_model_for_every_tier(name: str) -> None:
    assert set(MODELS[name]) == set(Tier)


def test_the_offline_models_are_those_that_the_simulator_has() -> None:
    assert set(MODELS["offline"].values()) == set(LENGTHS)


def test_an_unknown_provider_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UnknownProvider, match="offline, openai, anthropic, bedrock"):
        build("parrot")


def test_building_the_providers_loads_no_sdk() -> None:
    heavy = {"openai", "anthropic", "boto3", "botocore", "httpx", "httpx2"}
    code = f"import sys, agents.gateways.providers as p; [p.build(name) for name in p.MODELS]; sys.exit(len({heavy} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_provider_says_what_its_first_call_imports() -> None:
    assert PACKAGES.keys() == MODELS.keys()


@pytest.mark.parametrize("name", [name for name in PACKAGES if PACKAGES[name]])
def test_a_warm_process_has_imported_what_the_first_call_needs(name: str) -> None:
    warm = f"from agents.gateways.providers.choice import PACKAGES, warm; warm({name!r})"
    code = f"import sys; {warm}; sys.exit(len(set(PACKAGES[{name!r}]) - set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
