"""The command `python -m tracking RUN_DIR`."""

from tracking.mirror import main

if __name__ == "__main__":
    main()
