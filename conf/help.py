"""The groups and the schema as text for `--help`: what each yaml says of itself, and the docstring under each field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Container
from functools import cache

from conf import schema
from conf.typed import describe, fields_of
from conf.yaml_groups import CONF_DIR, OPTIONAL_GROUPS, groups


def group_lines() -> list[str]:
    """One line a choice of every group: the comment at the top of its yaml."""
    lines = []
    for group, names in groups().items():
        prefix = "+" if group in OPTIONAL_GROUPS else ""
        lines += [f"  {f'{prefix}{group}={name}':32s} {description(group, name)}" for name in names]
    return lines


def description(group: str, name: str) -> str:
    """The first comment of a group's yaml that is not Hydra's."""
    for line in (CONF_DIR / group / f"{name}.yaml").read_text().splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""


def key_lines(cls: type = schema.RunConfig, prefix: str = "", known: Container[str] = ()) -> list[str]:
    """One line a key: name, what the key allows, what it means.

    Args:
      cls: the dataclass whose keys are listed.
      prefix: what stands before their names.
      known: keys that are left out.
    """
    lines = []
    for name, field in fields_of(cls).items():
        if name in known or field.type is schema.SourceConfig:  # nobody types these
            continue
        if field.variants is not None:
            lines += key_lines(field.type, f"{prefix}{name}.")
            for choice, variant in field.variants.classes.items():
                lines.append(f"  {f'with {prefix}{name}.{field.variants.key}={choice}':32s} also")
                lines += key_lines(variant, f"{prefix}{name}.", fields_of(field.type))
        elif dataclasses.is_dataclass(field.type):
            lines += key_lines(field.type, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            lines.append(f"  {prefix + name:32s} {docs_of(cls).get(name, '')} [{describe(field)}]")
    return lines


def docs_of(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass, inherited ones included."""
    docs: dict[str, str] = {}
    for one in reversed(cls.__mro__[:-1]):
        docs |= field_docs(one)
    return docs


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
