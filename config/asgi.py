"""The ASGI application: HTTP by Django, WebSocket by Channels."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()  # before anything that needs the apps

from channels.routing import ProtocolTypeRouter  # noqa: E402

from invocation.api.front import FrontDoor  # noqa: E402
from invocation.routing import websocket  # noqa: E402

application = ProtocolTypeRouter({"http": FrontDoor(http), "websocket": websocket})
