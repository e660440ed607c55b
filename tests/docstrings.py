"""The command `python -m tests.docstrings` names every public function whose docstring does not say enough.

A module, a public class and a public function need a docstring. The docstring begins with a sentence that has a
subject or a verb, so not with "Of". A function with four or more parameters lists each of them under `Args:`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("conf", "records", "tracking", "envs", "agents", "sweeps", "analysis", "perf")
MANY_PARAMETERS = 4
SELF_EXPLANATORY = {"main"}
"""Functions whose module's docstring says what they do."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Yield each public class, function and method with its dotted name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters, without `self` and `cls`."""
    spec = function.args
    names = [one.arg for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    names += [one.arg for one in (spec.vararg, spec.kwarg) if one is not None]
    return [name for name in names if name not in ("self", "cls")]


def documented(docstring: str) -> set[str]:
    """Return the parameters that the `Args:` section names; one line may name several, separated by commas."""
    _, found, section = docstring.partition("Args:\n")
    section = re.split(r"^(?:Returns|Raises|Yields|Attributes):", section, maxsplit=1, flags=re.M)[0] if found else ""
    heads = re.findall(r"^ +((?:[*\w]+(?:, )?)+):", section, flags=re.M)
    return {name.lstrip("*") for head in heads for name in head.split(", ")}


def complaints(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each complaint about one module's source."""
    tree = ast.parse(source)
    if tree.body and not ast.get_docstring(tree):
        yield 1, "the module has no docstring"
    for name, node in public(tree.body):
        docstring = ast.get_docstring(node)
        is_function = not isinstance(node, ast.ClassDef)
        if docstring is None:
            if is_function and len(parameters(node)) >= MANY_PARAMETERS:
                yield node.lineno, f"{name} has no docstring, and {len(parameters(node))} parameters"
            elif "." not in name and node.name not in SELF_EXPLANATORY:
                yield node.lineno, f"{name} has no docstring"
            continue
        if docstring.startswith("Of "):
            yield node.lineno, f"the docstring of {name} begins with 'Of': it needs a subject or a verb"
        if is_function and len(parameters(node)) >= MANY_PARAMETERS:
            missing = [one for one in parameters(node) if one not in documented(docstring)]
            if missing:
                yield node.lineno, f"{name}: Args: lacks {', '.join(missing)}"


def main() -> int:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in complaints(path.read_text())
    ]
    print("\n".join(found) or "docstrings: nothing to complain of")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
