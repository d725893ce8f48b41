"""The addresses of evals, below /v1/."""

from __future__ import annotations

from django.urls import path

from evals.api import views

urlpatterns = [path("evals", views.Evals.as_view(), name="evals")]
