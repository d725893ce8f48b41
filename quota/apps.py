"""Names the app to Django."""

from django.apps import AppConfig


class QuotaConfig(AppConfig):
    name = "quota"
