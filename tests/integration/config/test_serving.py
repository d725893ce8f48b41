from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from config.serving.gate import STALLED_S
from config.supervisor.ending import until
from tests.installation import ROOT, free_port
from tests.integration.config.pieces import piece
from tests.integration.config.serving import SOON

MOST = 1024 * 1024
"""Far above what the server's, the kernel's and the reader's buffers hold together, far below the torrent's 80 MB."""


@dataclass(frozen=True)
class Torrent:
    """A web process that pours, and where it writes down how much."""

    port: int
    told: Path
    process: subprocess.Popen[bytes]

    @property
    def poured(self) -> int:
        text = self.told.read_text() if self.told.exists() else ""
        return int(text or 0)

    @property
    def is_connected(self) -> bool:
        return any(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(self.process.pid).net_connections())

    @property
    def resident(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@pytest.fixture
def torrent(tmp_path: Path) -> Iterator[Torrent]:
    with pouring(tmp_path) as found:
        yield found


@contextmanager
def pouring(folder: Path, *, certificate: str = "", stalled_s: float = STALLED_S) -> Iterator[Torrent]:
    port, told = free_port(), folder / "poured"
    words = [sys.executable, "-m", "tests.integration.config.torrent", str(port), str(told), certificate, str(stalled_s)]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ) as process:
        try:
            assert until(lambda: _listens(port), patience=SOON)
            yield Torrent(port, told, process)
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def request(start: str, *headers: str) -> bytes:
    return "\r\n".join((f"{start} HTTP/1.1", "Host: x", *headers, "", "")).encode()


HANDSHAKE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
STREAM = request("GET /")
PLAIN = request("POST /v1/chat", "Content-Length: 0")
SOCKET = request("GET /", *HANDSHAKE)
of_every_kind = pytest.mark.parametrize("asking", [STREAM, PLAIN, SOCKET], ids=["sse", "plain-sse", "websocket"])
of_events = pytest.mark.parametrize("asking", [STREAM, PLAIN], ids=["sse", "plain-sse"])


@of_every_kind
def test_an_application_waits_for_a_reader_of_one_byte_a_second(torrent: Torrent, asking: bytes) -> None:
    before = torrent.resident
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        reader.connect(("127.0.0.1", torrent.port))
        reader.sendall(asking)
        assert until(lambda: torrent.poured > 0, patience=SOON)
        for _ in range(3):
            time.sleep(1)
            assert reader.recv(1)

        assert 0 < torrent.poured < MOST
        assert torrent.resident - before < 2 * MOST


@of_every_kind
def test_a_reader_that_catches_up_is_sent_all(torrent: Torrent, asking: bytes) -> None:
    with socket.create_connection(("127.0.0.1", torrent.port)) as reader:
        reader.sendall(asking)
        time.sleep(0.5)
        read = 0
        while read < 4 * MOST and (piece := reader.recv(65_536)):
            read += len(piece)

    assert read >= 4 * MOST


@of_every_kind
def test_a_reader_that_takes_nothing_is_cut_off_and_its_application_leaves_others_a_turn(tmp_path: Path, asking: bytes) -> None:
    with pouring(tmp_path, stalled_s=0.2) as torrent, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        reader.connect(("127.0.0.1", torrent.port))
        reader.sendall(asking)

        assert until(lambda: torrent.poured > 0, patience=SOON)
        assert until(lambda: not torrent.is_connected, patience=SOON)
        with socket.create_connection(("127.0.0.1", torrent.port), timeout=SOON.total_seconds()) as another:
            another.sendall(STREAM)
            assert another.recv(1_024).startswith(b"HTTP/1.1 200")


MANY = 400
"""Pieces: more than the buffers hold, so that the socket takes some of them in parts."""


@of_events
def test_no_byte_of_a_stream_is_out_of_place_though_its_reader_lags(torrent: Torrent, asking: bytes) -> None:
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        reader.connect(("127.0.0.1", torrent.port))
        reader.sendall(asking)
        time.sleep(0.5)
        heard = reader.makefile("rb")
        while heard.readline().strip():
            continue
        chunks = [_chunk(heard) for _ in range(MANY)]

    assert chunks == [piece(number) for number in range(1, MANY + 1)]


@of_events
def test_no_byte_of_a_stream_goes_past_its_encryption(tmp_path: Path, asking: bytes) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(a_certificate())
    trust = ssl.create_default_context(cafile=certificate)
    with (
        pouring(tmp_path, certificate=str(certificate)) as torrent,
        socket.create_connection(("127.0.0.1", torrent.port), timeout=20) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as reader,
        reader.makefile("rb") as heard,
    ):
        reader.sendall(asking)
        while heard.readline().strip():
            continue
        chunks = [_chunk(heard) for _ in range(MANY)]

    assert chunks == [piece(number) for number in range(1, MANY + 1)]


def a_certificate() -> bytes:
    """Return a key and its own certificate of localhost, good for an hour."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    built = built.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + signed.public_bytes(Encoding.PEM)


def _chunk(heard: BufferedReader) -> bytes:
    size = int(heard.readline(), 16)
    return heard.read(size + 2)[:-2]


A_SLOW_LINK_S = 3
"""Longer than autobahn would wait for its close frame to be answered."""


def test_no_message_of_a_socket_is_out_of_place_though_its_reader_lags(torrent: Torrent) -> None:
    with connect(f"ws://127.0.0.1:{torrent.port}/", compression=None, max_queue=1, close_timeout=1) as reader:
        time.sleep(0.5)
        messages = [reader.recv() for _ in range(MANY)]

    assert messages == [piece(number) for number in range(1, MANY + 1)]


def test_a_sender_of_frames_that_nobody_reads_is_closed_and_told_why_however_late_it_reads(torrent: Torrent) -> None:
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        link.connect(("127.0.0.1", torrent.port))
        with connect(f"ws://127.0.0.1:{torrent.port}/", sock=link, compression=None, max_size=None) as sender:
            for _ in range(80):
                sender.send("x")
            time.sleep(A_SLOW_LINK_S)
            with suppress(ConnectionClosedError):
                for _ in sender:
                    continue

    assert sender.close_code == 1008


def test_a_message_beyond_all_limits_is_closed_as_too_big() -> None:
    from config.serving.command import MESSAGE_BYTES, WebCommand  # it imports Twisted's reactor

    given = WebCommand().parser.parse_args(["application"])

    assert (given.websocket_max_message_size, given.websocket_max_frame_size) == (MESSAGE_BYTES, MESSAGE_BYTES)


def test_a_handshake_beyond_all_limits_is_refused(torrent: Torrent) -> None:
    with socket.create_connection(("127.0.0.1", torrent.port)) as reader:
        reader.sendall(request("GET /", *HANDSHAKE, f"X-Long: {'x' * 20_000}"))
        told = reader.recv(1_024)

    assert b" 101 " not in told
    assert torrent.poured == 0
