"""Names the app to Django."""

from django.apps import AppConfig


class InvocationConfig(AppConfig):
    name = "invocation"
