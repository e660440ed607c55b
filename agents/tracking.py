"""The door: `python -m agents.tracking RUN_DIR`. Everything behind it is in `tracking`."""

import sys

from tracking.follow import main

if __name__ == "__main__":
    sys.exit(main())
