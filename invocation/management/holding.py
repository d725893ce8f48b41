"""What the commands hold, release and holds share: naming a thing, and who holds it."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser


def add_thing(parser: CommandParser) -> None:
    """Let the command name one thing by its scope."""
    scopes = parser.add_mutually_exclusive_group(required=True)
    scopes.add_argument("--endpoint", metavar="NAME@VERSION")
    scopes.add_argument("--agent", metavar="NAME@VERSION", help="an agent version, also one that only canaries run")
    scopes.add_argument("--tenant", metavar="NAME|ID")
    scopes.add_argument("--class", metavar="p0|p1|p2|p3", dest="class_")
    parser.add_argument("--by", metavar="USER", help="the admin account in whose name this is done")


def thing(*, endpoint: str | None, agent: str | None, tenant: str | None, class_: str | None) -> tuple[Any, str]:
    """Return the scope and the value that were named. Raises CommandError for what does not exist."""
    from invocation.models.admission import HoldScope
    from invocation.selectors import standing

    given = {HoldScope.ENDPOINT: endpoint, HoldScope.AGENT: agent, HoldScope.TENANT: tenant, HoldScope.CLASS: class_}
    scope, value = next((scope, value) for scope, value in given.items() if value)
    known = standing.value_of(scope, value)
    if known is None:
        raise CommandError(f"There is no {scope} called {value}.")
    return scope, known


def who(name: str | None) -> Any:
    """Return the account, or nobody. Raises CommandError for an unknown one."""
    if not name:
        return None
    found = get_user_model().objects.filter(username=name).first()
    if found is None:
        raise CommandError(f"There is no account called {name}.")
    return found
