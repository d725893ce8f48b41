"""Where a webhook may go: which URLs can be kept, and which addresses a connection may be made to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from invocation.domain.errors import UrlRefused

LONGEST_URL = 2_000
FIRST_UNPRIVILEGED = 1_024
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?\Z")

# IANA IPv4 Special-Purpose Address Registry, and the fixed address at which one cloud serves its hosts' secrets.
CLOSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Global unicast (RFC 4291) without protocol assignments and Teredo, documentation, and 6to4, which hides an IPv4 address.
OPEN_V6 = IPv6Network("2000::/3")
CLOSED_V6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): the IPv4 address in its last 32 bits is where the connection really goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an installation's webhooks can reach."""

    schemes: frozenset[str]
    ports: frozenset[int]
    allows: Callable[[str], bool]


def is_public(address: str) -> bool:
    """Say whether an IP address is of the public internet; also for IPv4 addresses in IPv6's clothes."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    inner = found if isinstance(found, IPv4Address) else _inner(found)
    if inner is not None:
        return not any(inner in network for network in CLOSED_V4)
    return found in OPEN_V6 and not any(found in network for network in CLOSED_V6)


PUBLIC = Reach(schemes=frozenset({"https"}), ports=frozenset({443}), allows=is_public)
ANYWHERE = Reach(schemes=frozenset({"https", "http"}), ports=frozenset({443, 80}), allows=lambda _: True)
"""For development and tests: also this machine and private networks, also without TLS."""


def check_url(url: str, *, reach: Reach) -> None:
    """Return if deliveries may be sent there, as far as the text tells. Raises UrlRefused, saying why.

    A name is not looked up here: what it stands for is checked at each connection.
    """
    why = _why_not(url, reach)
    if why:
        raise UrlRefused(f"/url: {why}", field="/url", found=url[:200])


def _why_not(url: str, reach: Reach) -> str:
    if len(url) > LONGEST_URL:
        return f"at most {LONGEST_URL} characters."
    if not (url.isascii() and url.isprintable()) or set(url) & set(' \\"<>^`{|}'):
        return "only the characters of a URL; write a name of other letters in its ASCII form (xn--)."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "this is no URL."
    return _why_not_there(parts, port, reach)


def _why_not_there(parts: SplitResult, port: int | None, reach: Reach) -> str:
    host = parts.hostname or ""
    if parts.scheme not in reach.schemes:
        return f"the scheme must be {' or '.join(sorted(reach.schemes, reverse=True))}."
    if "@" in parts.netloc:
        return "credentials do not belong in a URL: the signature says who is calling."
    if parts.fragment:
        return "a fragment is never sent."
    if port is not None and port not in reach.ports and port < FIRST_UNPRIVILEGED:
        return f"the port must be {' or '.join(map(str, sorted(reach.ports)))}, or at least {FIRST_UNPRIVILEGED}."
    if _is_address(host):
        return "" if reach.allows(host) else "this address is not of the public internet."
    return "" if HOST_NAME.match(host) else "this is no host's name."


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a mapped or translated one leads to."""
    if address in TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped
