"""The door: `python -m agents.fork`. Everything behind it is in `sweeps.fork`."""

import sys

from sweeps.fork import main

if __name__ == "__main__":
    sys.exit(main())
