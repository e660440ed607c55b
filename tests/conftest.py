"""What holds for all tests: processes are started as a terminal starts them, and no program is compiled twice."""

import os
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Have Ctrl-C act on every process that a test starts, also where the tests themselves run in the background.

    JAX keeps what it compiles beside pytest's own cache, for all workers and for the next time.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.rootpath / ".pytest_cache" / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
