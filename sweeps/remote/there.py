"""What a submission asks of another machine's Python, where this file's text is executed: standard library alone."""

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version


def installed(name):
    """Return the version of a package; None where the package is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def look(folder, names):
    """Return the version of this Python, those of packages, and whether a folder is there."""
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "packages": {name: installed(name) for name in names},
        "has_code": os.path.isdir(folder),
    }


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1], sys.argv[2:])))
