"""Which finished runs are judged: a share of each mode's, chosen by the run's id alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from invocation.domain.modes import POLICIES, Mode

HASHED_BYTES = 8
BINS = float(1 << 8 * HASHED_BYTES)
SHARES: Mapping[Mode, float] = MappingProxyType({mode: policy.eval_share for mode, policy in POLICIES.items()})
"""What the mode table promises; an operator's SamplingShare goes before it."""


def is_sampled(run_id: UUID, share: float) -> bool:
    """Tell whether a run is among the share, 0 to 1, that is judged.

    The same run gives the same answer everywhere and always, and a run that is in a
    share is in every larger one.
    """
    digest = hashlib.blake2b(run_id.bytes, digest_size=HASHED_BYTES).digest()
    return int.from_bytes(digest, "big") < share * BINS
