"""The shapes of uploaded manifests."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ManifestShape(serializers.Serializer[Any]):
    """An uploaded manifest; `path` is what a batch is opened over."""

    name = serializers.CharField()
    path = serializers.CharField()
    bytes = serializers.IntegerField()


class UploadShape(ManifestShape):
    sha256 = serializers.CharField(help_text="Of what was kept.")
