"""The ASGI application: HTTP by Django, WebSocket by Channels."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()  # before anything that needs the apps

from invocation.routing import composed  # noqa: E402

application = composed(http)
