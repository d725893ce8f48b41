"""The Celery application: one direct queue for each priority class, early acknowledgement, no retries of its own."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from celery import Celery
from django.conf import settings
from kombu import Exchange, Queue

QUEUES = ("p0", "p1", "p2", "p3", "control")

app = Celery("gearbox")
app.set_default()
app.conf.update(
    broker_url=settings.BROKER_URL,
    result_backend=settings.CELERY_RESULT_URL,
    # Direct queues only: after a wiped Redis a topic exchange drops messages in silence.
    task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name, durable=True) for name in QUEUES],
    task_default_queue="control",
    task_default_exchange="control",
    task_default_routing_key="control",
    task_create_missing_queues=False,
    # Celery messages are wake-ups: PostgreSQL holds the truth, leases and sweeps bring work back.
    task_acks_late=False,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_pool="config.pool:Threads",
    result_expires=86_400,
    result_chord_join_timeout=30,
    task_serializer="json",
    accept_content=["json"],
    worker_send_task_events=True,
    task_send_sent_event=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    # So nothing is kept to be sent again either: a message that dies with its worker is sent anew by the sweep.
    broker_transport_options={"ack_emulation": False, "socket_timeout": 30, "socket_connect_timeout": 2, "health_check_interval": 15},
    broker_connection_timeout=2.0,
    redis_socket_timeout=30.0,
    redis_socket_connect_timeout=2.0,
    result_backend_transport_options={"retry_policy": {"timeout": 2.0}},
    timezone="UTC",
    enable_utc=True,
    include=["invocation.tasks", "evals.tasks"],
    # A tick that nobody took in time is worthless: the next one comes.
    beat_schedule={
        "schedules": {"task": "invocation.tick_schedules", "schedule": 1.0, "options": {"queue": "control", "expires": 5}},
        "batches": {"task": "invocation.sweep_batches", "schedule": 2.0, "options": {"queue": "control", "expires": 5}},
        "redrives": {"task": "invocation.sweep_redrives", "schedule": 1.0, "options": {"queue": "control", "expires": 5}},
        "processes": {"task": "invocation.forget_the_dead", "schedule": 60.0, "options": {"queue": "control", "expires": 60}},
        "deliveries": {"task": "invocation.send_deliveries", "schedule": 1.0, "options": {"queue": "control", "expires": 5}},
        "delivery_log": {"task": "invocation.tidy_deliveries", "schedule": 60.0, "options": {"queue": "control", "expires": 60}},
        "slo": {"task": "invocation.keep_slo", "schedule": 10.0, "options": {"queue": "control", "expires": 10}},
        "erasures": {"task": "invocation.sweep_erasures", "schedule": 2.0, "options": {"queue": "control", "expires": 5}},
        "retention": {"task": "invocation.let_go", "schedule": 30.0, "options": {"queue": "control", "expires": 30}},
        "catalogs": {"task": "invocation.register_datasets", "schedule": 5.0, "options": {"queue": "control", "expires": 5}},
        "stores": {"task": "invocation.clean_stores", "schedule": 3600.0, "options": {"queue": "control", "expires": 600}},
        "usage": {"task": "invocation.sum_usage", "schedule": 2.0, "options": {"queue": "control", "expires": 5}},
        "days": {"task": "invocation.raise_days", "schedule": 30.0, "options": {"queue": "control", "expires": 30}},
        "evals": {"task": "evals.consume", "schedule": 2.0, "options": {"queue": "control", "expires": 5}},
    },
)
