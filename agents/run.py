"""The door: `python -m agents.run`. Everything behind it is in `sweeps.command`."""

import sys

from sweeps.command import main

if __name__ == "__main__":
    sys.exit(main())
