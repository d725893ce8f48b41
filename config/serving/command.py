"""The command line of a web process: daphne's, with our server and our limits."""

from __future__ import annotations

from collections.abc import Sequence

from daphne.cli import CommandLineInterface

from config.serving.server import WebServer

APPLICATION = "config.asgi:application"
MESSAGE_BYTES = 128 * 1024
"""Twice the largest frame of ours: what is a little too large gets a typed error, what is far too large the close code 1009."""


class WebCommand(CommandLineInterface):  # type: ignore[misc]
    """Reads the options of a web process and serves."""

    server_class = WebServer

    def __init__(self) -> None:
        super().__init__()
        self.parser.set_defaults(verbosity=0, websocket_max_message_size=MESSAGE_BYTES, websocket_max_frame_size=MESSAGE_BYTES)

    def run(self, args: Sequence[str]) -> None:
        super().run([*args, APPLICATION])
