"""What stands in front of Django: doors of calls that have their own way, the addresses of WebSockets, and who may open one."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.urls import path, re_path

from invocation.api.front import App, FrontDoor
from invocation.api.stream_door import StreamDoor
from invocation.consumers import UNKNOWN, ChatConsumer
from invocation.gateways.interpreter import suit_many_runs


class OurPages(OriginValidator):  # type: ignore[misc]
    """Lets pages of this host connect, and programs, which send no Origin; another site's page is refused."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if any(name == b"origin" for name, _ in scope["headers"]):
            return await super().__call__(scope, receive, send)
        return await self.application(scope, receive, send)


class NoSuchAddress(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Closes what was opened where nothing is."""

    async def connect(self) -> None:
        await self.accept()
        await self.close(UNKNOWN)


websocket = OurPages(
    URLRouter([path("ws/chat/<str:label>", ChatConsumer.as_asgi()), re_path(r"^", NoSuchAddress.as_asgi())]),
    settings.ALLOWED_HOSTS,
)


def composed(http: App) -> ProtocolTypeRouter:
    """Put the doors and the sockets before the application of all other calls. Called once, when a web process has loaded."""
    suit_many_runs()
    return ProtocolTypeRouter({"http": FrontDoor(StreamDoor(http)), "websocket": websocket})
