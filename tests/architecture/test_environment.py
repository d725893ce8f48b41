"""The environment is read once, in config/env.py."""

from __future__ import annotations

import ast

from tests.architecture.sources import nodes

# Besides the one reader: these hand the whole environment on to a child process, or name Django's settings.
HAND_ON = {
    "config/env.py",
    "config/celery.py",
    "config/asgi.py",
    "config/processes.py",
    "config/up.py",
    "config/embedded/launch.py",
    "config/supervisor/leftovers.py",
}


def test_only_the_composition_touches_the_environment() -> None:
    found = {
        place.split(":")[0]
        for place, node in nodes(ast.Attribute)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} and isinstance(node.value, ast.Name)
    }

    assert found - HAND_ON == set()
