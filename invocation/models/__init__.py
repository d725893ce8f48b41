"""The tables of invocation, by subject."""

from invocation.models.admission import Hold, Process
from invocation.models.batches import Batch, BatchDownshiftCount, BatchOutbox, BatchRow, CatalogTable, Registration, Shard
from invocation.models.canaries import CanaryChange
from invocation.models.chat import Continuation, Session, Turn
from invocation.models.contexts import ContextRecord
from invocation.models.dead_letters import DeadLetter
from invocation.models.erasures import Erasure
from invocation.models.grants import StoreGrant
from invocation.models.jobs import Job, JobEvent, Result, StepRecord, StepValue, StoredResult
from invocation.models.redrives import Discard, Redrive, RedriveMember
from invocation.models.runs import DownshiftCount, Outbox, OutboxReceipt, RunRecord
from invocation.models.schedules import Firing, Schedule
from invocation.models.slo import Alert, SloRecord
from invocation.models.waits import Callback
from invocation.models.webhooks import Delivery, DeliveryTry, Webhook

__all__ = [
    "Alert",
    "Batch",
    "BatchDownshiftCount",
    "BatchOutbox",
    "BatchRow",
    "Callback",
    "CanaryChange",
    "CatalogTable",
    "ContextRecord",
    "Continuation",
    "DeadLetter",
    "Delivery",
    "DeliveryTry",
    "Discard",
    "DownshiftCount",
    "Erasure",
    "Firing",
    "Hold",
    "Job",
    "JobEvent",
    "Outbox",
    "OutboxReceipt",
    "Process",
    "Redrive",
    "RedriveMember",
    "Registration",
    "Result",
    "RunRecord",
    "Schedule",
    "Session",
    "Shard",
    "SloRecord",
    "StepRecord",
    "StepValue",
    "StoreGrant",
    "StoredResult",
    "Turn",
    "Webhook",
]
