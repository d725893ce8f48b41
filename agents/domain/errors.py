"""What can go wrong in a run: an agent's own errors, and ours while running it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum


class Cause(StrEnum):
    """Whose fault it was; dead letters are filtered by it."""

    BAD_INPUT = "bad_input"
    BAD_CODE = "bad_code"
    BAD_OUTPUT = "bad_output"
    PROVIDER = "provider"
    LOST_WORKER = "lost_worker"
    BUDGET = "budget"


class RunError(Exception):
    """The base of every typed error of a run: a code, a sentence a model could act on, the likely cause, the remedy."""

    code = "run_error"
    cause = Cause.BAD_CODE
    remedy = "Read the run's journal for the step that failed."
    retryable = False
    is_charged = True
    """Whether it counts as a failure of what was run: where no call was made, it does not."""
    is_of_probe = False
    """Whether the call was sent to see if a provider is back that was out: whoever carries it is not charged."""
    is_for_operators = False
    """Whether sentence and remedy quote what broke: they stand on the record, and whoever asked is told other words."""

    def __init__(self, sentence: str, *, remedy: str | None = None, retry_after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy or self.remedy
        self.retry_after = retry_after

    @property
    def is_own(self) -> bool:
        """Say whether it counts as a failure of what was run."""
        return self.is_charged and not self.is_of_probe


class AgentError(RunError):
    """The agent answered that it cannot: a result of its own, not a fault of the platform. Never retried."""

    code = "agent_error"
    cause = Cause.BAD_INPUT
    remedy = "Change the input; the agent would answer the same again."


class PlatformError(RunError):
    """Gearbox failed to run the agent."""

    code = "platform_error"


class WorkersVanished(PlatformError):
    """The process ended under it each time it was run. Nothing of it is on record."""

    code = "lost_worker"
    cause = Cause.LOST_WORKER
    remedy = "Look for what ends the process (memory, a crash in native code); then run it again."


class SkillCalledWhileStreaming(PlatformError):
    """A skill was called in compose; the plan is final before the stream starts. The skill did not run."""

    code = "skill_called_while_streaming"
    remedy = "Call the skill in plan() and hand its result to compose() in the Plan."


class SkillNotDeclared(PlatformError):
    """An agent called a skill that it was not registered with. The skill did not run."""

    code = "skill_not_declared"
    remedy = "Name the skill in @agent(skills=[...])."


class OutputInvalid(PlatformError):
    """The agent's Output is missing, came twice, or breaks the endpoint's output schema."""

    code = "output_invalid"
    cause = Cause.BAD_OUTPUT
    remedy = "End compose() with exactly one Output that the endpoint's schema accepts."


class AnswerWithdrawn(PlatformError):
    """The base of what ends an answer that may not stand: whatever was shown of it has been taken back."""

    def __init__(self, sentence: str, *, verifier: str = "") -> None:
        super().__init__(sentence)
        self.verifier = verifier


class PrivateDataShown(AnswerWithdrawn):
    """A verifier found what must not be shown."""

    code = "verification_failed"
    cause = Cause.BAD_OUTPUT
    remedy = "Read the verifier's finding; narrow the facts that the plan hands on."


class VerifierFailed(AnswerWithdrawn):
    """A verifier raised: nobody vouches for the answer, so it does not stand."""

    code = "verifier_failed"
    remedy = "Mend the verifier: it returns a Finding or None, whatever the text."


class VerifierStalled(AnswerWithdrawn):
    """A verifier took longer than its mode allows: nobody vouches for the answer, so it does not stand."""

    code = "verifier_stalled"
    cause = Cause.PROVIDER
    retryable = True
    remedy = "Try again; if it happens often, make the verifier faster or read shorter prefixes."


class WaitUnavailable(PlatformError):
    """This invocation cannot wait for a person, a callback, time or children. Nothing was parked."""

    code = "wait_unavailable"
    remedy = "Register the agent under an endpoint that declares may_wait."


class WaitMisused(PlatformError):
    """A wait was called in a way that cannot be waited for: a key twice, no question, a time without a zone."""

    code = "wait_misused"
    remedy = "Read the sentence; give each question and each callback of a run a key of its own."


class WaitTimedOut(AgentError):
    """What was waited for did not come in time. An agent may catch it and go on without."""

    code = "wait_timed_out"
    remedy = "Catch WaitTimedOut and go on without an answer, or wait longer."


class ChildFailed(AgentError):
    """A child ended without an output, and its parent needs one."""

    code = "child_failed"
    remedy = "Read the child's error; look at `outcome.error` instead of calling `outcome.value()` to go on without it."


class ChildRefused(PlatformError):
    """Another endpoint does not take what it was spawned with. No child was made."""

    code = "child_refused"
    remedy = "Spawn an endpoint that is called as a job, with inputs that its schema accepts."


class FanOutExceeded(PlatformError):
    """A run may not have so many children, a tree not so many descendants, or not lie so deep. No child was made."""

    code = "fan_out_exceeded"
    remedy = "Give each child more to do, or run the inputs as a batch."


class ReplayDiverged(PlatformError):
    """On resume a step was called with other arguments than the journal holds. Nothing ran."""

    code = "replay_diverged"
    remedy = "Keep plan() deterministic between steps: no clock, no chance outside run.step."


class BudgetExceeded(PlatformError):
    """The next call could cost more money than the run may still spend. The call was not made. `what` ran out.

    An agent may catch it, and finish with what it has.
    """

    code = "budget_exceeded"
    what = "money"
    cause = Cause.BUDGET
    remedy = "Raise the budget, or finish with what there is."


class TokensExceeded(BudgetExceeded):
    """The next call could use more tokens than the run still has. The call was not made."""

    code = "token_budget_exceeded"
    what = "tokens"


class CallsExceeded(BudgetExceeded):
    """The run has made all the model calls that it may make. The call was not made."""

    code = "call_budget_exceeded"
    what = "model_calls"


class LargerThanDay(BudgetExceeded):
    """The next call could take more than the tenant's plan allows in a whole day: waiting cannot help. The call was not made."""

    code = "larger_than_day"
    remedy = "Ask for less in one call, or raise the plan's daily limit."


class DayExceeded(PlatformError):
    """The tenant's money of the day is spent. The call was not made; `retry_after` is how long the day still lasts.

    Caught, it lets an agent finish with what it has. Uncaught, a job is parked until the next day, charged to nobody.
    """

    code = "daily_budget_spent"
    what = "money"
    cause = Cause.BUDGET
    remedy = "Wait for the next day (UTC), or raise the plan's daily limit."


class DayTokensExceeded(DayExceeded):
    """The tenant's tokens of the day are spent. The call was not made."""

    code = "daily_tokens_spent"
    what = "tokens"


class ProviderError(PlatformError):
    """The base of what a model provider answered instead of a completion."""

    code = "provider_error"
    cause = Cause.PROVIDER
    retryable = True
    remedy = "Try again later."


class ProviderRateLimited(ProviderError):
    """The provider answered 429. `retry_after` is its own word, where it gave one."""

    code = "provider_rate_limited"


class ProviderUnavailable(ProviderError):
    """The provider answered 5xx, or broke off before it answered: by chance, or because of this very request."""

    code = "provider_unavailable"


class ProviderDown(ProviderUnavailable):
    """The provider could not be reached, or said that it serves nobody now: whatever had been asked would have failed."""

    code = "provider_down"
    is_charged = False
    remedy = "Nothing needs to be done: it is asked again until it is back."


class ProviderStalled(ProviderError):
    """The provider went silent for longer than the call may take."""

    code = "provider_stalled"


class StreamCut(ProviderError):
    """The stream ended before the model said that it was done."""

    code = "stream_cut"


class ProviderRefused(ProviderError):
    """The provider refused the request itself (4xx other than 429): trying again cannot help."""

    code = "provider_refused"
    retryable = False
    remedy = "Check the model's name, the key and the request's size."
