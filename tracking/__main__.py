"""The command `python -m tracking RUN_DIR`."""

from tracking.follow import main

if __name__ == "__main__":
    main()
