"""The addresses of the API under /v1."""

from __future__ import annotations

from django.urls import path

from invocation.api import account, batches, chat, endpoints, jobs, openapi, schedules, streams

urlpatterns = [
    path("openapi.json", openapi.openapi),
    path("endpoints", endpoints.Endpoints.as_view()),
    path("endpoints/<str:label>", endpoints.OneEndpoint.as_view()),
    path("jobs", jobs.Jobs.as_view()),
    path("jobs/<uuid:job_id>", jobs.OneJob.as_view()),
    path("jobs/<uuid:job_id>/result", jobs.JobResult.as_view()),
    path("jobs/<uuid:job_id>/journal", jobs.JobJournal.as_view()),
    path("jobs/<uuid:job_id>/events", streams.JobEvents.as_view()),
    path("jobs/<uuid:job_id>/cancel", jobs.CancelJob.as_view()),
    path("jobs/<uuid:job_id>/input", jobs.AnswerJob.as_view()),
    path("jobs/<uuid:job_id>/redrive", jobs.RedriveJob.as_view()),
    path("chat", streams.Chat.as_view()),
    path("sessions/<uuid:session_id>", chat.OneSession.as_view()),
    path("sessions/<uuid:session_id>/events", streams.SessionEvents.as_view()),
    path("sessions/<uuid:session_id>/cancel", chat.CancelTurn.as_view()),
    path("tickets", chat.Tickets.as_view()),
    path("batches", batches.Batches.as_view()),
    path("batches/<uuid:batch_id>", batches.OneBatch.as_view()),
    path("batches/<uuid:batch_id>/shards", batches.BatchShards.as_view()),
    path("batches/<uuid:batch_id>/results", batches.BatchResults.as_view()),
    path("batches/<uuid:batch_id>/cancel", batches.CancelBatch.as_view()),
    path("schedules", schedules.Schedules.as_view()),
    path("schedules/<uuid:schedule_id>", schedules.OneSchedule.as_view()),
    path("schedules/<uuid:schedule_id>/firings", schedules.ScheduleFirings.as_view()),
    path("schedules/<uuid:schedule_id>/fire", schedules.FireSchedule.as_view()),
    path("schedules/<uuid:schedule_id>/pause", schedules.PauseSchedule.as_view()),
    path("schedules/<uuid:schedule_id>/resume", schedules.ResumeSchedule.as_view()),
    path("usage", account.UsageOf.as_view()),
    path("quota", account.QuotaOf.as_view()),
    path("runs", account.Runs.as_view()),
]
