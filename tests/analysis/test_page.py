"""The page in a real browser."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.load import load
from analysis.report import main
from records import layout
from tests.analysis.browser import opened

pytestmark = pytest.mark.slow


@pytest.fixture
def page_path(runs: Path, tmp_path: Path, write_run) -> Path:
    """A report on two widths and three tasks, whose names hold what HTML would read as markup."""
    tasks = ("dmc/a-walk", "dmc/b-run", "dmc/<b>c</b>")
    for width in (64, 128):
        for seed in range(2):
            name = f"run <i>{width} & s{seed}"
            write_run(
                {0: [0.1, 0.1, 0.1], 500: [0.2 + seed / 10, 0.9, width / 200]},
                width=width,
                seed=seed,
                tasks=tasks,
                name=name,
            )
    (write_run({}, seed=7, name="waiting") / layout.METRICS).write_text("")
    assert main([str(runs), "--out", str(tmp_path / "out"), "--replicates", "50"]) == 0
    return tmp_path / "out" / "index.html"


def column(page, table: str, number: int, only_visible: bool = False) -> list[str]:
    rows = page.locator(f"#{table} tbody tr{':visible' if only_visible else ''}")
    return [rows.nth(at).locator("td").nth(number).inner_text() for at in range(rows.count())]


def test_tables_sort_by_number_and_text_both_ways(page_path: Path):
    with opened(page_path) as page:
        header = page.locator("#task-table th")
        score = header.all_inner_texts().index("score")
        header.nth(score).click()
        ascending = [float(text) for text in column(page, "task-table", score)]
        assert ascending == sorted(ascending)
        assert header.nth(score).get_attribute("aria-sort") == "ascending"
        header.nth(score).click()
        assert [float(text) for text in column(page, "task-table", score)] == sorted(ascending, reverse=True)
        header.nth(1).click()
        names = column(page, "task-table", 1)
        assert names == sorted(names)
        assert header.nth(score).get_attribute("aria-sort") is None
        assert page.problems == []


def test_filter_keeps_rows_that_have_all_words(page_path: Path):
    with opened(page_path) as page:
        search = page.locator("input[data-table=task-table]")
        search.fill("W128 a-walk")
        assert column(page, "task-table", 1, only_visible=True) == ["dmc/a-walk"]
        assert page.locator("output[data-table=task-table]").inner_text() == "1 of 6 rows"
        search.fill("")
        assert len(column(page, "task-table", 1, only_visible=True)) == 6
        assert page.problems == []


def test_page_shows_names_as_they_are_and_links_to_run_folders(page_path: Path):
    with opened(page_path) as page:
        link = page.locator("#run-table a").first
        assert link.inner_text().startswith("run <i>")
        folder = page.evaluate("element => element.href", link.element_handle())
        assert folder.startswith("file://")
        assert (page_path.parent / link.get_attribute("href") / layout.MANIFEST).exists()
        assert "waiting: no evaluation yet" in page.locator("#left-out").inner_text()
        assert "1 run or curve could not be used" in page.locator("#aggregate figcaption").inner_text()
        assert page.locator("nav a").count() == page.locator("section").count()
        assert page.problems == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)], ids=["light", "dark", "phone"])
def test_page_is_readable_in_light_dark_and_on_a_phone(page_path: Path, width: int, dark: bool):
    with opened(page_path, width, dark) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "images => images.filter(one => !one.complete || one.naturalWidth === 0).length"
        assert page.locator("img").evaluate_all(broken) == 0
        image = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("L"), float)
        assert (image.mean() < 60) if dark else (image.mean() > 200)
        assert image.std() > 10  # not blank
        assert page.problems == []


def test_page_prints_with_tables_whole(page_path: Path, tmp_path: Path):
    with opened(page_path) as page:
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()
        assert page.locator(".scroll").first.evaluate("one => getComputedStyle(one).maxHeight") == "none"
        assert page.pdf().startswith(b"%PDF")


def test_loaded_numbers_are_on_the_page(page_path: Path, runs: Path):
    table = load(runs).table
    last = table.loc[(table["env_steps"] == 500) & (table["variant"] == "brc w64")]
    expected = {task: f"{rows['score'].mean():.3f}" for task, rows in last.groupby("task")}
    with opened(page_path) as page:
        page.locator("input[data-table=task-table]").fill("w64")
        score = page.locator("#task-table th").all_inner_texts().index("score")
        names, scores = (column(page, "task-table", at, only_visible=True) for at in (1, score))
    assert dict(zip(names, scores, strict=True)) == expected
