"""Dead letters: failed jobs under a name of their own, so that they have permissions and pages of their own."""

from __future__ import annotations

from invocation.models.jobs import Job


class DeadLetter(Job):
    """A failed job that will not be tried again by itself; selectors/dead_letters.py says which jobs these are."""

    class Meta:
        proxy = True
        permissions = [("reveal_deadletter", "Can read the private values of a dead letter")]
