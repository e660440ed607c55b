"""The pages that say how to add something are carried out, step by step, in a copy of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import ROOT, Step, carry_out, edited, steps_of

PAGES = sorted((ROOT / "docs").glob("add-a-*.md"))


def test_blocks_with_a_file_or_of_sh_are_steps():
    page = "Text\n\n```python a/b.py\nx = 1\n```\n\n```python\nexample\n```\n\n```sh\ntrue\n```\n"
    assert steps_of(page) == [Step("python", "a/b.py", "x = 1\n"), Step("sh", None, "true\n")]


def test_a_diff_replaces_the_one_place_that_fits():
    assert edited("a\nb\nc\n", " a\n-b\n+d\n") == "a\nd\nc\n"
    with pytest.raises(AssertionError, match="2 places"):
        edited("a\na\n", " a\n+b\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_step_of_the_page_works(page: Path, tmp_path: Path):
    printed = carry_out(page, tmp_path)
    assert len(printed) >= 2
    assert all(printed)
