"""What the proxy of the fault tests does is what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.proxy import Proxy, proxied

SHORT_S = 0.2


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy in front of a server that says back what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_echo_for_ever, args=(server,), daemon=True).start()
        with proxied(server.getsockname()[1]) as found:
            yield found


def _echo_for_ever(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while piece := connection.recv(1024):
            connection.sendall(piece)


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def said_back(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    return connection.recv(1024)


def must_be_reset(proxy: Proxy) -> None:
    """The reset may come while the connection is made, or with the first words."""
    with pytest.raises(ConnectionResetError), connected(proxy) as connection:
        said_back(connection, b"hello")


def test_words_pass_in_both_directions(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        assert said_back(connection, b"hello") == b"hello"

    assert (proxy.accepted, proxy.passed_down) == (1, 5)


def test_a_cut_resets_what_stands_and_lets_the_next_connection_in(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        said_back(connection, b"hello")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connected(proxy) as connection:
        assert said_back(connection, b"again") == b"again"


def test_a_cut_after_so_many_bytes_tears_what_is_said(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        proxy.cut_after(3)

        assert said_back(connection, b"hello") == b"hel"
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_whoever_is_refused_is_reset_until_all_are_accepted_again(proxy: Proxy) -> None:
    proxy.refuse()
    must_be_reset(proxy)
    proxy.accept()
    with connected(proxy) as connection:
        assert said_back(connection, b"hello") == b"hello"


def test_what_is_frozen_is_silent_and_goes_on_when_it_thaws(proxy: Proxy) -> None:
    with connected(proxy) as connection:
        proxy.freeze()
        connection.sendall(b"hello")
        connection.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.thaw()
        connection.settimeout(5)

        assert connection.recv(1024) == b"hello"


def test_a_delay_holds_back_each_piece(proxy: Proxy) -> None:
    proxy.delay(SHORT_S)
    with connected(proxy) as connection:
        began = time.monotonic()
        said_back(connection, b"hello")

        assert time.monotonic() - began >= 2 * SHORT_S


def test_a_target_that_is_gone_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with proxied(port) as proxy:
        must_be_reset(proxy)
