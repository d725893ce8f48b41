"""Every address of the installation."""

from __future__ import annotations

import django_stubs_ext
from django.contrib import admin
from django.urls import include, path

from invocation.api import docs, pages, probes

django_stubs_ext.monkeypatch()  # forms and admins name their models in brackets; only the web process has any
admin.autodiscover()

urlpatterns = [
    path("", pages.chat_page),
    path("v1/", include("invocation.api.urls")),
    path("v1/", include("evals.api.urls")),
    path("docs", docs.calls),
    path("docs/problems", docs.problems),
    path("healthz", probes.healthz),
    path("readyz", probes.readyz),
    path("metrics", probes.metrics),
    path("admin/", admin.site.urls),
]

handler404 = "invocation.api.problems.not_found"
handler500 = "invocation.api.problems.failed"
