"""Passwords in texts: whether a text holds one, and the text without it."""

from __future__ import annotations

import re

MASK = "***"
# A port looks like a password to a pattern that reads one text after another, but web addresses have ports and paths.
_WEB = re.compile(r"(?i)(\bhttps?://)(?![^\s/?#@]*:\d+(?:[/\s]|$))[^\s/@]+(?::[^@]*)?@(?:\S*@)?")
_DATABASE = re.compile(r"(?i)\b((?!https?:)[a-z][a-z0-9+.-]*://[^\s/?#@:]*:)[^@]*@(?:\S*@)?")
_OPTION = re.compile(r"(?i)([?&](?:password|passwd|pwd|sslpassword|token)=)[^\s&#]+")
# `export PGPASSWORD=$(cat file)` names a place and holds no password.
_VARIABLE = re.compile(r"\b((?:[A-Z_]*PASSWORD|MLFLOW_TRACKING_TOKEN)=)(?![\"']?[$`])[^\s,]+")


def mask(text: str) -> str:
    """The text with `***` for every password: `user:password@` in an address, and values of well-known options."""
    text = _WEB.sub(rf"\1{MASK}@", text)
    text = _DATABASE.sub(rf"\1{MASK}@", text)
    text = _OPTION.sub(rf"\1{MASK}", text)
    return _VARIABLE.sub(rf"\1{MASK}", text)


def has_password(text: str) -> bool:
    """Whether `mask` finds a password in the text."""
    return mask(text) != text
