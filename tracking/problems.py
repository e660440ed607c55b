"""What keeps MLflow from having something, in one line with the cure."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from conf.passwords import mask

SQLITE_BEGINS = b"SQLite format 3\0"
SCHEMAS = "store/db_migrations/versions"
"""Where MLflow keeps a file for each version of its tables, in its own folder."""
LATER = "runs go on, and MLflow gets the rest when the server is back, or by: python -m sweeps.sync"
OTHER_DATABASE = "name another database: tracking.uri=sqlite:///FILE"
SCHEMA = re.compile(r"found version (\w+), but expected \w+")
STATUS = re.compile(r"failed with error code (\d{3})")
HTTP_CURES = {
    401: "asks who you are (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
    "MLFLOW_TRACKING_TOKEN, in the environment of the runs",
    403: "refuses (403); ask who runs the server for the right to write there, or choose another experiment: "
    "tracking.experiment=NAME",
    404: "is no MLflow server (404); correct the address: tracking.uri=http://HOST:PORT",
}
HOST_CURE = (
    "does not know itself by that name (403); add the name to MLFLOW_SERVER_ALLOWED_HOSTS where the server is started"
)


class MirrorError(RuntimeError):
    """What keeps MLflow from having something; the message is one line that ends with the cure."""


def reason(error: Exception) -> str:
    """Return one line that says what went wrong, without passwords."""
    return mask(str(error).partition("\n")[0]) or type(error).__name__


def explain(error: Exception, uri: str) -> str:
    """Return one line that says why MLflow at `uri` could not be told something, with the cure where one is known."""
    text = reason(error)
    if isinstance(error, MirrorError):
        return text
    if isinstance(error, ConnectionError):
        return f"{text}; {LATER}"
    if found := SCHEMA.search(text):
        return wrong_schema(uri, found[1])
    found = STATUS.search(text)
    code = int(found[1]) if found else None
    if code == 403 and "Invalid Host header" in str(error):
        return f"{uri}: {HOST_CURE}"
    if code in HTTP_CURES:
        return f"{uri}: {HTTP_CURES[code]}"
    if "failed with exception" in text:  # what MLflow says where a connection breaks or nothing comes
        return f"{uri}: gives no answer; {LATER}"
    return text if uri in text else f"{uri}: {text}"


def wrong_schema(uri: str, version: str) -> str:
    """Return what to do about a database that another version of MLflow has made.

    Args:
      uri: the database.
      version: the version of its tables.
    """
    spec = importlib.util.find_spec("mlflow")
    folders = spec.submodule_search_locations if spec else None
    if any(known for folder in folders or () for known in Path(folder, SCHEMAS).glob(f"{version}_*.py")):
        return f"{uri}: was made by an older MLflow; copy the database, then: mlflow db upgrade {uri}"
    return f"{uri}: was made by a newer MLflow; install that version of MLflow, or {OTHER_DATABASE}"


def check_file(path: Path) -> None:
    """Refuse at once a file that is no database, and one that may not be written, which MLflow would try for minutes.

    Raises:
      MirrorError: names the file and the cure.
    """
    try:
        with path.open("r+b") as file:
            begins = file.read(len(SQLITE_BEGINS))
    except FileNotFoundError:
        return
    except OSError as error:
        raise MirrorError(f"{path}: {error.strerror}; make it readable and writable, or {OTHER_DATABASE}") from None
    if begins not in (b"", SQLITE_BEGINS):
        raise MirrorError(f"{path}: is no SQLite database; move the file away, or {OTHER_DATABASE}")
