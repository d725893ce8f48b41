"""What stands in front of Django: doors of calls that have their own way, the addresses of WebSockets, and which pages may open one."""

from __future__ import annotations

from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import validate_host
from django.urls import path, re_path

from invocation.api.front import App, FrontDoor
from invocation.api.stream_door import StreamDoor
from invocation.consumers.chat import ChatConsumer, NoSuchAddress
from invocation.consumers.handshake import header
from invocation.domain.origins import is_ours
from invocation.gateways.interpreter import suit_many_runs


class OurPages:
    """Lets pages of this host and of allowed origins connect, and programs; another site's page is refused with 403.

    A program sends no Origin, or a key in Authorization, which no page can put on a WebSocket.
    """

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await (self._application if _may_connect(scope) else WebsocketDenier())(scope, receive, send)


def _may_connect(scope: Any) -> bool:
    origin = header(scope, b"origin")
    if origin is None or header(scope, b"authorization") is not None:
        return True
    host = (header(scope, b"host") or b"").decode("latin1")
    ours = host if validate_host(host.rsplit(":", 1)[0] if not host.endswith("]") else host, settings.ALLOWED_HOSTS) else ""
    return is_ours(origin.decode("latin1"), host=ours, allowed=[*settings.ALLOWED_ORIGINS, settings.PUBLIC_URL])


websocket = OurPages(URLRouter([path("ws/chat/<str:label>", ChatConsumer.as_asgi()), re_path(r"^", NoSuchAddress.as_asgi())]))


def composed(http: App) -> ProtocolTypeRouter:
    """Put the doors and the sockets before the application of all other calls. Called once, when a web process has loaded."""
    suit_many_runs()
    return ProtocolTypeRouter({"http": FrontDoor(StreamDoor(http)), "websocket": websocket})
