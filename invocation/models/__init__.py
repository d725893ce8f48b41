"""The tables of invocation, by subject."""

from invocation.models.admission import Hold, Process
from invocation.models.batches import Batch, BatchRow, Shard
from invocation.models.chat import Session, Turn
from invocation.models.dead_letters import DeadLetter
from invocation.models.jobs import Job, JobEvent, Result, StepRecord
from invocation.models.runs import Outbox, RunRecord
from invocation.models.schedules import Firing, Schedule

__all__ = [
    "Batch",
    "BatchRow",
    "DeadLetter",
    "Firing",
    "Hold",
    "Job",
    "JobEvent",
    "Outbox",
    "Process",
    "Result",
    "RunRecord",
    "Schedule",
    "Session",
    "Shard",
    "StepRecord",
    "Turn",
]
