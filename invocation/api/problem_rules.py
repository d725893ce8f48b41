"""Which refusal is answered how: one row an error class, with its status, its title and its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions as drf

from invocation.domain import errors as invocation
from quota.domain import errors as quota


@dataclass(frozen=True, slots=True)
class Rule:
    """How an error is answered. An empty code or title is the error's own."""

    status: int
    remedy: str = ""
    code: str = ""
    title: str = ""


LIST_THEM = "GET /v1/endpoints lists what can be called, and how."
WAIT = "Send the same call again after Retry-After."
NEXT_DAY = "Send the call again after Retry-After, when the next day (UTC) has begun, or raise the plan's daily limit."
MENDED = "Correct the field that is named and send the call again."
MAKE_A_KEY = "Make a key with `manage.py keys create`, and send it as `Authorization: Bearer KEY`."
OURS = "The database cannot be reached"

RULES: Mapping[type[Exception], Rule] = MappingProxyType(
    {
        invocation.UnknownEndpoint: Rule(404, LIST_THEM),
        invocation.UnknownVersion: Rule(404, LIST_THEM),
        invocation.EndpointRetired: Rule(410, "Call the successor that is named."),
        invocation.ModeMismatch: Rule(422, "Use the call that right_call names."),
        invocation.TooLongForSync: Rule(422, "Submit it as a job to the sibling that is named."),
        invocation.TooManyItems: Rule(422, "Send fewer items in one call, or run them as a batch."),
        invocation.TooManyTokens: Rule(422, "Shorten the input."),
        invocation.BodyTooLarge: Rule(413, "Send less in one call; a large manifest belongs in the object store."),
        invocation.InputInvalid: Rule(422, MENDED),
        invocation.NotFound: Rule(404),
        invocation.BadCursor: Rule(400, "Begin again without a cursor; a cursor belongs to one list and its filters."),
        invocation.IdempotencyConflict: Rule(422, "Send a fresh Idempotency-Key with each new body."),
        invocation.LaneBusy: Rule(409, "Wait for the open job of this ordering key, or cancel it."),
        invocation.AdmissionHeld: Rule(503, WAIT),
        invocation.Saturated: Rule(503, WAIT),
        invocation.TooManyTurns: Rule(429, "Wait until a turn of yours has ended, or raise the plan's cap."),
        invocation.TooManyConnections: Rule(429, "Close a stream that is not needed, or raise the plan's cap."),
        invocation.ConnectionsFull: Rule(503, WAIT),
        invocation.TooManyFrames: Rule(429, "Send a frame when a person has asked, not before."),
        invocation.ConnectionIdle: Rule(408, "Connect again when there is something to ask."),
        invocation.StreamUnavailable: Rule(503, WAIT),
        invocation.SessionBusy: Rule(409, "Wait for the open turn's last event, or cancel it."),
        invocation.StaleMove: Rule(409, "Read it again: it has moved on."),
        invocation.NothingOffered: Rule(409, "Read the turn's last event: `escape` says whether a job is offered; or submit one."),
        invocation.NotWaiting: Rule(409, "Read the job: `questions` says what it asks."),
        invocation.ResultNotReady: Rule(404, "Follow the job's events, or ask again later."),
        invocation.NothingFailed: Rule(409, "Nothing needs to be done."),
        invocation.NoResult: Rule(410, "Read `error`; a failed job can be redriven."),
        invocation.ResultExpired: Rule(410, "Submit the job again; results are kept for a while only."),
        invocation.ResultWithheld: Rule(409, "Read it all the same with ?withheld=show, or submit a job for the current version."),
        invocation.ResultDamaged: Rule(500, "Tell the operator; submit the job again."),
        invocation.ContextMovedOn: Rule(409, "Read the context, and name a version that is not below its own."),
        invocation.OutputRefused: Rule(422, "Correct the field that is named and send the batch again."),
        invocation.ManifestInvalid: Rule(422, "Correct the line that is named and send the batch again."),
        invocation.ManifestChanged: Rule(409, "Put the file back as it was and resume the batch, or open another over it."),
        invocation.ManifestInUse: Rule(409, "Give this manifest another name, or cancel the batch."),
        invocation.ManifestTooLarge: Rule(413, "Send less, pack it, or put it in the object store and name its path."),
        invocation.ManifestsFull: Rule(413, "Delete uploads; rows that came with a batch go by themselves, days after it ended."),
        invocation.StoreUnavailable: Rule(503, WAIT),
        invocation.UrlRefused: Rule(422, "Give an https URL of a host on the public internet."),
        invocation.TooManyWebhooks: Rule(409, "Delete a webhook that is not needed any more."),
        invocation.DeadLetterDiscarded: Rule(409, "Submit a new job: a discarded dead letter is closed for good."),
        invocation.AgentVersionGone: Rule(410, "Redrive it with `agent: current`, or register the version again."),
        invocation.TooManyRedrives: Rule(409, "Wait for an open redrive to end, or abort it."),
        invocation.TooManyErasures: Rule(409, "Wait for an open erasure to finish, and ask again."),
        invocation.ContractBroken: Rule(500, "Publish the change under a new version."),
        quota.BadKey: Rule(401, MAKE_A_KEY, title="The API key is not valid"),
        quota.KeyRevoked: Rule(401, MAKE_A_KEY, title="The API key was revoked"),
        quota.ScopeMissing: Rule(403, "Use a key that has the scope.", title="The key may not do this"),
        quota.ClassNotAllowed: Rule(403, "Use a key with a higher class.", title="The key may not use this priority class"),
        quota.UnknownPlan: Rule(404, title="No such plan"),
        quota.UnknownKey: Rule(404, title="No such key"),
        quota.RateExceeded: Rule(429, WAIT, title="Too many requests"),
        quota.QuotaExceeded: Rule(429, WAIT, title="The model's quota is used up for now"),
        quota.CanNeverFit: Rule(422, "Send less in one call.", title="Larger than the quota ever allows"),
        quota.LargerThanDay: Rule(422, "Send less in one call, or raise the plan's daily limit.", title="Larger than the plan's whole day"),
        quota.ModelUnavailable: Rule(503, WAIT, title="The model's provider is out"),
        quota.QuotaStoreUnavailable: Rule(503, WAIT, title="The quota store is out of reach"),
        quota.BudgetSpent: Rule(422, "Give a larger budget.", title="The budget is spent"),
        quota.DaySpent: Rule(429, NEXT_DAY, title="The day's money is spent"),
        quota.DayTokensSpent: Rule(429, NEXT_DAY, title="The day's tokens are spent"),
        quota.UnknownPrice: Rule(503, "Give the model a price.", title="No price is known for the model"),
        quota.PriceRefused: Rule(422, MENDED, title="The price cannot be set so"),
        quota.PriceInEffect: Rule(409, "Set another price from now on.", title="The price is in effect"),
        quota.ReportInvalid: Rule(422, "Correct the line that is named and import the report again.", title="The report cannot be read"),
        OperationalError: Rule(503, WAIT, code="database_unavailable", title=OURS),
        InterfaceError: Rule(503, WAIT, code="database_unavailable", title=OURS),
        RequestDataTooBig: Rule(413, "Send less in one call.", code="body_too_large", title="The body is too large"),
        drf.ParseError: Rule(400, "Send one JSON object.", code="bad_json", title="The body is not JSON"),
        drf.NotAuthenticated: Rule(401, MAKE_A_KEY, code="bad_key", title="An API key is needed"),
        drf.AuthenticationFailed: Rule(401, MAKE_A_KEY, code="bad_key", title="The API key is not valid"),
        drf.PermissionDenied: Rule(403, code="forbidden", title="Not allowed"),
        PermissionDenied: Rule(403, code="forbidden", title="Not allowed"),
        drf.NotFound: Rule(404, code="not_found", title="Not found"),
        Http404: Rule(404, code="not_found", title="Not found"),
        drf.MethodNotAllowed: Rule(405, code="method_not_allowed", title="This address does not take that method"),
        drf.NotAcceptable: Rule(406, "Accept application/json.", code="not_acceptable", title="Nothing acceptable to answer with"),
        drf.UnsupportedMediaType: Rule(415, "Send application/json.", code="unsupported_media_type", title="Not a media type of ours"),
    }
)


def rule_of(error: Exception) -> Rule | None:
    """Return how the error, or the nearest of its bases that has a row, is answered; None if it is a defect of ours."""
    return next((RULES[each] for each in type(error).__mro__ if each in RULES), None)
