"""Imported by the server that environment workers fork from: they inherit its deafness to what tells a run to stop.

SLURM signals every process of a job; only the one that trains should act on it. Workers end when it closes their pipe.
"""

import signal

for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
    signal.signal(_number, signal.SIG_IGN)
