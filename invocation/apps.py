"""Names the app to Django and registers its checks."""

from importlib import import_module

from django.apps import AppConfig


class InvocationConfig(AppConfig):
    name = "invocation"

    def ready(self) -> None:
        import_module("invocation.checks")
