"""Addresses of MLflow servers and of databases: what is allowed in them, and where a relative SQLite file lies."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conf.passwords import has_password
from conf.typed import ConfigError

SQLITE = "sqlite:///"
WEB = ("http://", "https://")
TRACKING_SCHEMES = (SQLITE, *WEB, "postgresql", "mysql", "databricks")
WEB_ADVICE = "give it in the environment: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
POSTGRESQL_ADVICE = "name the user alone and give it in the file that PGPASSFILE names, or in PGPASSWORD"
MYSQL_ADVICE = "give it in an option file: ?read_default_file=FILE"
OTHER_ADVICE = "give it in the environment or in a file, as the service's own client reads it"


def is_web(uri: str) -> bool:
    """Whether the address is a server's, which has pages to look at."""
    return uri.lower().startswith(WEB)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other address."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def absolute(uri: str, folder: Path) -> str:
    """The address with a relative SQLite file, or one below `~`, made absolute as seen from `folder`."""
    if not uri.startswith(SQLITE):
        return uri
    return f"{SQLITE}{folder / Path(uri.removeprefix(SQLITE)).expanduser()}"


def check_no_password(text: str) -> None:
    """Refuses a text that holds a password, because what is given to a command is written into files.

    Raises:
      ConfigError: the text without its password, and where to give the password instead.
    """
    if has_password(text):
        raise ConfigError(f"{text}: a password may not stand here, because runs write this down; {_advice(text)}")


def check_no_passwords(texts: Iterable[str]) -> None:
    """Refuses several texts, such as a command's arguments, of which one holds a password (`check_no_password`)."""
    for text in texts:
        check_no_password(text)


def check_values(values: Any, key: str = "") -> None:
    """Refuses nested plain values, as a yaml file has them, of which a text holds a password.

    Raises:
      ConfigError: names the key.
    """
    if isinstance(values, dict):
        for name, value in values.items():
            check_values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            check_values(value, key)
    elif isinstance(values, str):
        check_no_password(f"{key}={values}")


def check_tracking_uri(uri: str, key: str = "tracking.uri") -> None:
    """Refuses an address that MLflow could not use, or that holds a password.

    Raises:
      ConfigError: names `key` and what is allowed.
    """
    check_no_password(f"{key}={uri}")
    if not uri.startswith(TRACKING_SCHEMES):
        raise ConfigError(f"{key}={uri}: must begin with one of {', '.join(TRACKING_SCHEMES)}")
    if is_web(uri) and not _has_host(uri):
        raise ConfigError(f"{key}={uri}: must name a host, and a port below 65536 if any: http://host:5000")
    check_database(uri, key)


def check_database(uri: str, key: str) -> None:
    """Refuses an address of SQLite that names no file: several processes must find the same data there.

    Raises:
      ConfigError: names `key` and what is allowed.
    """
    if not uri.startswith("sqlite"):
        return
    path = sqlite_path(uri)
    if path is None or ":memory:" in uri or uri.endswith("/") or not path.name:
        raise ConfigError(f"{key}={uri}: must name a file: {SQLITE}mlflow.db")
    if path.expanduser().is_dir():
        raise ConfigError(
            f"{key}={uri}: must name a file, and {path} is a folder; such as {SQLITE}{path / 'mlflow.db'}"
        )


def _has_host(url: str) -> bool:
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _advice(text: str) -> str:
    """Where a password goes that stands in `text`."""
    schemes = {"http://": WEB_ADVICE, "https://": WEB_ADVICE, "postgres": POSTGRESQL_ADVICE, "mysql": MYSQL_ADVICE}
    schemes["mariadb"] = MYSQL_ADVICE
    return next((advice for scheme, advice in schemes.items() if scheme in text.lower()), OTHER_ADVICE)
