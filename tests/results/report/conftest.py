"""A browser, and reports to look at in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from results import report
from results.report.page import write
from results.store import Store
from tests.results.made_up import fill, make_run
from tests.results.report import chromium


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what needs a browser where there is none: skipped here, all of it is one line of the summary."""
    if "browser" in getattr(item, "fixturenames", ()) and (why := chromium.missing()):
        pytest.skip(f"the report is not looked at: {why}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.running() as browser:
        yield browser


SCRIPTS = [
    {
        "label": "experiment-0",
        "programs": [
            {"title": "pytorch eager", "command": "lockstep script experiment-0", "program": "x = y < 2\nprint(x)\n"},
            {"title": "jax jit", "command": "lockstep script experiment-0", "program": "import jax\n"},
        ],
    }
]
"""Made up, as the runs are."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two experiments and a sweep; PyTorch's compiler does other work in one, and MindSpore is missing in the other."""
    store = fill(tmp_path_factory.mktemp("results"))
    rung: dict[str, Any] = {
        "status": "not-equivalent",
        "equal_work": False,
        "failed_rung": "loss curve",
        "reason": "off at step 7",
    }
    for round_ in (1, 2, 3):
        store.append(make_run(100 + round_, "experiment-0", ("pytorch", "cheat"), round_, **rung))
    failed: dict[str, Any] = {
        "status": "failed",
        "equal_work": None,
        "phase": "import",
        "reason": "no module named mindspore",
    }
    store.append(make_run(110, "experiment-1", ("mindspore", "pynative"), 1, **failed))
    (store.folder / "logs").mkdir()
    (store.folder / "logs" / "s-00110.log").write_text("ModuleNotFoundError: the last words\n")
    number = 200
    for size in (16, 64):
        point: dict[str, Any] = {"sweep_point": f"batch_size={size}", "experiment_hash": f"hash {size}"}
        for round_ in (1, 2):
            for cell in (("jax", "jit"), ("pytorch", "eager")):
                number += 1
                store.append(make_run(number, "swept", cell, round_, **point))
    return store


@pytest.fixture(scope="session")
def address(store: Store) -> str:
    path = store.folder / report.PAGE
    write(report.read(store.folder), path, scripts=SCRIPTS)
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The report, ready; it fails the test if the page asks for anything or complains about anything."""
    context = browser.new_context(offline=True, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if is_foreign(request.url) else None)
    open_(page, address)
    yield page
    context.close()
    assert complaints == []


def is_foreign(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def open_(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("body[data-ready=yes]")


def headings(page: Page) -> list[str]:
    """The visible headings of the table."""
    return [
        text.strip() for text in page.locator("#cells thead tr").first.locator(".dt-column-title").all_inner_texts()
    ]


def table_of(page: Page, column: str) -> list[str]:
    """The visible texts of a column of the table."""
    return page.locator(f"#cells tbody tr td:nth-child({headings(page).index(column) + 1})").all_inner_texts()
