"""A real headless Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def blank(width: int = 1280, dark: bool = False) -> Iterator[Any]:
    """An empty page in a browser. Skips where there is no Chromium; in CI there must be one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"none of {', '.join(NAMES)} is installed")
    assert found is not None, f"none of {', '.join(NAMES)} is installed"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        yield context.new_page()
        browser.close()


@contextlib.contextmanager
def opened(path: Path, width: int = 1280, dark: bool = False) -> Iterator[Any]:
    """The page in a browser that reaches no network; its `problems` are what the console and the page complain of."""
    with blank(width, dark) as page:
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("file:", "data:")) or page.problems.append(one.url))
        page.goto(path.resolve().as_uri())
        yield page
