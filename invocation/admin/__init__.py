"""The admin's face: what people who run Gearbox see of its work, and the few things that they may do to it."""

from django.contrib import admin

from invocation.admin import (
    alerts,
    batches,
    canaries,
    catalog,
    chat,
    dead_letters,
    grants,
    holds,
    jobs,
    redrives,
    runs,
    schedules,
    webhooks,
)

__all__ = [
    "alerts",
    "batches",
    "canaries",
    "catalog",
    "chat",
    "dead_letters",
    "grants",
    "holds",
    "jobs",
    "redrives",
    "runs",
    "schedules",
    "webhooks",
]

admin.site.index_template = "admin/invocation/dashboard.html"
admin.site.index_title = "Overview"
