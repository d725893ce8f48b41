"""Why a call is refused: one class a refusal, with a stable code; api/problems.py turns each into a response."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


class InvocationError(Exception):
    """The base of all refusals. `facts` are the fields of the answer; nothing was changed unless the class says so."""

    code = "invocation_error"
    title = "The call was refused"
    retryable = False

    def __init__(self, detail: str, *, retry_after: timedelta | None = None, **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.facts: Mapping[str, Any] = facts


class UnknownEndpoint(InvocationError):
    code = "unknown_endpoint"
    title = "No such endpoint"


class UnknownVersion(InvocationError):
    code = "unknown_version"
    title = "No such version of this endpoint"


class EndpointRetired(InvocationError):
    """The version was retired; `successor` names the one to call."""

    code = "endpoint_retired"
    title = "This version is retired"


class ModeMismatch(InvocationError):
    """The endpoint is invoked by another call, which `right_call` names."""

    code = "mode_mismatch"
    title = "This endpoint is invoked another way"


class TooLongForSync(InvocationError):
    """The estimate exceeds the mode's latency budget; `sibling` names the endpoint that may take that long."""

    code = "too_long_for_sync"
    title = "This would take longer than a person waits"


class TooManyItems(InvocationError):
    code = "too_many_items"
    title = "Too many items"


class TooManyTokens(InvocationError):
    code = "too_many_tokens"
    title = "The input is too long"


class BodyTooLarge(InvocationError):
    code = "body_too_large"
    title = "The body is too large"


class InputInvalid(InvocationError):
    """A field is wrong: `field` is its JSON pointer, `found` what stood there."""

    code = "input_invalid"
    title = "The input is invalid"


class NotFound(InvocationError):
    """There is no such thing here: also the answer to another tenant's id."""

    code = "not_found"
    title = "Not found"


class BadCursor(InvocationError):
    code = "bad_cursor"
    title = "The cursor is not one of ours"


class IdempotencyConflict(InvocationError):
    """The key was used with another body. The first call stands."""

    code = "idempotency_conflict"
    title = "This Idempotency-Key belongs to another request"


class LaneBusy(InvocationError):
    """The ordering key's policy is reject and a job of it is still open."""

    code = "ordering_key_busy"
    title = "A job of this ordering key is still open"


class AdmissionHeld(InvocationError):
    """An operator holds admission; a chat cannot wait for the release."""

    code = "admission_held"
    title = "Admission is held"
    retryable = True


class Saturated(InvocationError):
    """Every slot is taken; a chat is never queued behind the budget that it has."""

    code = "saturated"
    title = "No free slot"
    retryable = True


class TooManyTurns(InvocationError):
    """The tenant has as many turns open as its plan allows; `limit` and `used` count them. Nothing was started."""

    code = "too_many_turns"
    title = "Too many turns are open"
    retryable = True


class TooManyConnections(InvocationError):
    """The tenant has as many streams open as its plan allows, over all web processes; `limit` and `used` count them."""

    code = "too_many_connections"
    title = "Too many streams are open"
    retryable = True


class ConnectionsFull(InvocationError):
    """This web process holds as many streams as it may. Another one may have room."""

    code = "connections_full"
    title = "No room for another stream"
    retryable = True


class TooManyFrames(InvocationError):
    """Frames come faster than anybody types. The connection is closed."""

    code = "too_many_frames"
    title = "Too many frames"
    retryable = True


class ConnectionIdle(InvocationError):
    """Nothing was asked for as long as a connection may be idle, which `limit_s` tells. The session stays."""

    code = "connection_idle"
    title = "The connection was idle"


class StreamUnavailable(InvocationError):
    """The broker or the stream store is out of reach. Nothing was started."""

    code = "stream_unavailable"
    title = "Streaming is out of service"
    retryable = True


class SessionBusy(InvocationError):
    """A turn of this session is still open."""

    code = "session_busy"
    title = "The session's last turn is still open"
    retryable = True


class StaleMove(InvocationError):
    """The row is not in a state, or not held by the attempt, from which this move may be made. Nothing changed."""

    code = "stale_move"
    title = "Too late for this move"


class NothingOffered(InvocationError):
    """The turn has not ended with the offer of a job, so there is nothing to accept. Nothing was started."""

    code = "nothing_offered"
    title = "Nothing is offered here"


class NotWaiting(InvocationError):
    """The job asks no question of this key. The answer was not stored."""

    code = "not_waiting"
    title = "Nothing is asked here"


class ResultNotReady(InvocationError):
    """The job has not ended yet; `state` says where it is."""

    code = "result_not_ready"
    title = "There is no result yet"
    retryable = True


class NothingFailed(InvocationError):
    """No row of the batch has failed: there is nothing to run again."""

    code = "nothing_failed"
    title = "Nothing has failed"


class NoResult(InvocationError):
    """The job ended without a result; `state` says how and `error` why."""

    code = "no_result"
    title = "There will be no result"


class ResultExpired(InvocationError):
    """The job completed, and its result was kept for as long as promised, or was erased with its subject."""

    code = "result_expired"
    title = "The result is no longer kept"


class ResultWithheld(InvocationError):
    """The context has a newer version and the job's policy is withhold. The result is kept and was not applied."""

    code = "result_withheld"
    title = "The result came too late for its context"


class ResultDamaged(InvocationError):
    """The result's file is missing, or is not what was written. Nothing of it is handed out."""

    code = "result_damaged"
    title = "The stored result is damaged"


class ContextMovedOn(InvocationError):
    """The context has a higher version, which `current_version` tells; a version never goes back. Nothing changed."""

    code = "context_moved_on"
    title = "The context is further on"


class ManifestInvalid(InvocationError):
    """A line of the manifest cannot be run; `line` counts from 1. Nothing was started."""

    code = "manifest_invalid"
    title = "The manifest is invalid"


class ManifestChanged(InvocationError):
    """The manifest is not what was planned: gone, longer, shorter, or other rows where a shard's began. Nothing of it was run."""

    code = "manifest_changed"
    title = "The manifest changed"


class ManifestInUse(InvocationError):
    """A batch that has not ended reads the manifest; `batch_id` names it. Nothing was written or taken away."""

    code = "manifest_in_use"
    title = "A batch reads this manifest"


class ManifestTooLarge(InvocationError):
    """An upload is longer than `limit` bytes. Nothing of it was kept."""

    code = "manifest_too_large"
    title = "The manifest is too large"


class ManifestsFull(InvocationError):
    """The tenant keeps as many manifests as it may: `used` of `limit`, in `unit` (bytes or files). Nothing of this one was kept."""

    code = "manifests_full"
    title = "No room for another manifest"


class StoreUnavailable(InvocationError):
    """The store of what `field` names is out of reach, or refuses us. Nothing was started."""

    code = "store_unavailable"
    title = "The store does not answer"
    retryable = True


class OutputRefused(InvocationError):
    """The dataset cannot be written there, or not parted so; `field` and the sentence say why. Nothing was started."""

    code = "output_refused"
    title = "The output is refused"


class UrlRefused(InvocationError):
    """Webhooks are not sent there; `field` and the sentence say why. Nothing was kept."""

    code = "url_refused"
    title = "Webhooks are not sent there"


class TooManyWebhooks(InvocationError):
    """The tenant keeps as many webhooks as it may, which `most` tells."""

    code = "too_many_webhooks"
    title = "Too many webhooks"


class DeadLetterDiscarded(InvocationError):
    """The dead letter was closed for good; the sentence says why. Nothing was started."""

    code = "dead_letter_discarded"
    title = "This dead letter was discarded"


class AgentVersionGone(InvocationError):
    """The job pins an agent version that is not registered here any more. Nothing was started."""

    code = "agent_version_gone"
    title = "This agent version is gone"


class TooManyRedrives(InvocationError):
    """As many redrives are open as may be, which `most` tells."""

    code = "too_many_redrives"
    title = "Too many redrives are open"


class TooManyErasures(InvocationError):
    """As many of the tenant's subjects are being forgotten as may be at a time, which `most` tells. This one was not written down."""

    code = "too_many_erasures"
    title = "Too many erasures are open"


class ContractBroken(InvocationError):
    """A published endpoint version changed without a new version."""

    code = "contract_broken"
    title = "A published contract changed"
