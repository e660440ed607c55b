"""The schema as text for `--help`: every key with the docstring under its field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from functools import cache

from conf import schema
from conf.typed import describe, fields_of


def key_lines(cls: type = schema.RunConfig, prefix: str = "") -> list[str]:
    """One line a key: name, what it allows, what it means."""
    lines = []
    for name, field in fields_of(cls).items():
        if dataclasses.is_dataclass(field.type):
            lines += key_lines(field.type, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            lines.append(f"  {prefix + name:32s} {field_docs(cls).get(name, '')} [{describe(field)}]")
    return lines


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                docs[name] = str(text)
    return docs
