"""What one of two processes does that train one learner together: `python -m tests.process_of_two ADDRESS NUMBER FILE`.

The 20 updates of `tests/test_sharding.py` on a mesh of one device of each process; FILE gets the state and the metrics.
"""

from __future__ import annotations

import sys

import jax
import numpy as np

PROCESSES = 2


def main() -> None:
    address, number, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of the work
    jax.distributed.initialize(address, PROCESSES, number)
    assert (jax.process_count(), jax.local_device_count()) == (PROCESSES, 1)

    from conf.mesh import MeshConfig
    from tests.test_sharding import CALLS, CONTINUOUS, begun, updated

    state, metrics = updated(CONTINUOUS, begun(CONTINUOUS), MeshConfig(PROCESSES, 1), range(CALLS))
    np.savez(file, *map(np.asarray, jax.tree.leaves((state, metrics))))


if __name__ == "__main__":
    main()
