"""The command `python -m tracking RUN_DIR`."""

import sys

from tracking.follow import main

if __name__ == "__main__":
    sys.exit(main())
