"""How long torch's threads busy-wait for each other before they sleep.

libgomp, which provides torch's threads, spins about 300,000 rounds by default. Where other programs use the
cores, the thread that the others wait for is queued behind threads that only spin. Ten thousand rounds are as
fast on an otherwise idle machine (``python -m lightning_kp.bench --only waiting``).
"""

import os
from collections.abc import MutableMapping

SPIN_ROUNDS = 10_000


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set libgomp's spin count, unless the user has set one. No effect once torch is loaded."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(environment):
        environment["GOMP_SPINCOUNT"] = str(SPIN_ROUNDS)
