"""What holds for all tests: processes are started as a terminal starts them."""

import signal


def pytest_configure() -> None:
    """Have Ctrl-C act on every process that a test starts, also where the tests themselves run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
