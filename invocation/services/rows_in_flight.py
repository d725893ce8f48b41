"""How many rows a process runs at once: its shards share one bound evenly, and a model that refuses has fewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from invocation.domain.flow import Flow


class RowsInFlight:
    """Lives on the loop of a process. Rows themselves are counted by their shards; here is what each may have."""

    def __init__(self, *, most: int, most_of_a_shard: int) -> None:
        self._most = most
        self._most_of_a_shard = most_of_a_shard
        self._shards: Counter[str] = Counter()
        self._flows: dict[str, Flow] = {}

    def join(self, model: str) -> Flow:
        """Count a shard among those that share, and return the flow of the model that its rows ask."""
        self._shards[model] += 1
        return self._flows.setdefault(model, Flow(self._most))

    def leave(self, model: str) -> None:
        self._shards[model] -= 1

    def share(self, model: str) -> int:
        """Return how many rows each shard that asks this model may run at once, one at least."""
        of_process = self._most // max(1, self._shards.total())
        of_model = self._flows[model].limit // max(1, self._shards[model])
        return max(1, min(of_process, of_model, self._most_of_a_shard))

    @property
    def limits(self) -> Mapping[str, int]:
        """Return how many rows may run at once against each model that was asked."""
        return {model: flow.limit for model, flow in self._flows.items()}
