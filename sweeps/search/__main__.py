"""The command `python -m sweeps.search STUDY`."""

import sys

from sweeps.search.command import main

if __name__ == "__main__":
    sys.exit(main())
