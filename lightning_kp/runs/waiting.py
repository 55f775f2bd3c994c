"""How long the threads of a network wait for each other in a loop before they sleep.

libgomp, which torch's threads are, spins some 300,000 rounds by itself: where other programs use the cores,
the thread that is waited for stands in the queue behind those that do nothing but wait.  Ten thousand
rounds are as quick on a machine of one's own (``python -m lightning_kp.bench --only waiting``).
"""

import os
from collections.abc import MutableMapping

ROUNDS = 10_000


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say so to libgomp, unless the user has; without effect once torch is loaded."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(environment):
        environment["GOMP_SPINCOUNT"] = str(ROUNDS)
