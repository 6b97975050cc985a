"""The report as its readers meet it: in a browser, without network, by its texts and its shapes."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from results.report.charts import CHARTS
from tests.results.made_up import CELLS
from tests.results.report.conftest import open_, table_of


def marks(page: Page, chart: str, kind: str) -> int:
    """Marks of a kind (symbol, line, rect, rule) in a chart, axes and legends left out."""
    return page.locator(f"#chart-{chart} svg g.mark-{kind}.role-mark > *").count()


def fragment(page: Page) -> str:
    return str(page.evaluate("location.hash"))


def link_of(page: Page) -> str:
    """The address as the page has it; the browser tells ``page.url`` of a change of it only later."""
    return str(page.evaluate("location.href"))


def open_all(page: Page) -> None:
    page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")


def choose(page: Page, control: str, label: str) -> None:
    page.locator(f"#{control}").select_option(label=label)


def filter_by(page: Page, title: str, text: str) -> None:
    page.get_by_label(f"Filter {title}", exact=True).fill(text)


def sort_by(page: Page, title: str) -> None:
    """Click on a heading; DataTables sorts in a task of its own after that."""
    page.locator("#cells thead th", has_text=title).click()
    page.wait_for_function("location.hash.includes('order=')")


def test_outcome_says_which_is_faster_and_how_sure_that_is(page: Page) -> None:
    text = page.locator("#sentences").inner_text()
    faster = re.search(r"jax jit trains (\S+)x as many samples/s as pytorch eager \((\S+) to (\S+)\)", text)
    assert faster
    assert 1.45 < float(faster[1]) < 1.55
    assert float(faster[2]) < float(faster[1]) < float(faster[3])
    assert "same losses within rounding" in text
    assert "Nobody can tell whether pytorch compile or pytorch eager trains faster" in text
    assert "pytorch cheat: left out of every ratio; equal work: no: loss curve; runs: 3 not-equivalent" in text


def test_outcome_compares_frameworks_at_their_best_with_the_chosen_baselines(page: Page) -> None:
    best = re.compile(r"jax at its best \(scan\) trains (\S+)x as many samples/s as (\w+) at its best \((.*?)\) \(")
    found = best.search(page.locator("#sentences").inner_text())
    assert found
    assert 2.9 < float(found[1]) < 3.1
    assert found[2] == "pytorch"
    choose(page, "baseline", "mindspore graph")
    found = best.search(page.locator("#sentences").inner_text())
    assert found
    assert 2.75 < float(found[1]) < 2.95
    assert found.groups()[1:] == ("mindspore", "graph")


def test_every_chart_of_the_open_comparison_is_drawn(page: Page) -> None:
    drawn = [chart.name for chart in CHARTS if chart.name != "scaling"]
    assert [figure.get_attribute("id") for figure in page.locator("#charts figure").all()] == [
        f"chart-{name}" for name in drawn
    ]
    for name in drawn:
        assert page.locator(f"#chart-{name} svg g.role-mark > path").count() > 1, name
    cells = len(CELLS) + 1
    assert marks(page, "throughput", "symbol") == 3 * cells
    assert marks(page, "throughput", "rule") == len(CELLS), "what did other work has no interval"
    assert marks(page, "training-loss", "line") == cells
    assert marks(page, "distance-from-reference", "line") == cells + 1, "and the envelope"
    assert marks(page, "phases", "rect") > 10 * cells
    assert marks(page, "confusion", "rect") == 4 * cells
    assert marks(page, "windows", "symbol") == 6 * 3 * cells


def test_a_sweep_is_a_curve_with_the_peak_of_the_machine(page: Page) -> None:
    choose(page, "panel", "swept batch_size=16 on cpu, 3 threads, float32")
    page.wait_for_selector("#charts[data-drawn='2']")
    assert marks(page, "scaling", "line") == 2 + 2 + 1
    assert "the machine's peak" in (page.locator("#chart-scaling svg").text_content() or "")


def test_a_click_on_a_heading_sorts_by_numbers(page: Page) -> None:
    sort_by(page, "throughput")
    texts = table_of(page, "throughput, samples/s")
    figures = [float(text.split()[0].replace(",", "")) for text in texts if text != "-"]
    assert len(figures) == len(texts) - 2, "those of cells that failed or did other work"
    assert figures == sorted(figures)
    assert "order=train_samples_per_second+asc" in fragment(page)


def test_filters_by_text_and_by_number_reach_the_charts(page: Page) -> None:
    filter_by(page, "backend", "JAX")
    assert set(table_of(page, "backend")) == {"jax"}
    page.wait_for_function("document.querySelectorAll('#chart-training-loss g.mark-line.role-mark > *').length == 2")
    filter_by(page, "throughput, samples/s", ">400000")
    assert set(table_of(page, "mode")) == {"scan"}
    page.wait_for_function("document.querySelectorAll('#chart-training-loss g.mark-line.role-mark > *').length == 1")
    page.get_by_role("button", name="Clear filters").click()
    assert set(table_of(page, "backend")) == {"jax", "mindspore", "pytorch"}


def test_another_baseline_changes_sentences_and_ratios(page: Page) -> None:
    before = table_of(page, "times the baseline")
    choose(page, "baseline", "jax scan")
    assert "jax jit trains 0.50x as many samples/s as jax scan" in page.locator("#sentences").inner_text()
    after = table_of(page, "times the baseline")
    assert before != after
    assert after[1] == "1.00x (1.00 to 1.00)"
    assert "baseline=jax+scan" in fragment(page)


def test_a_copied_link_shows_the_same_view(page: Page, browser: Browser, address: str) -> None:
    choose(page, "baseline", "jax scan")
    choose(page, "panel", "experiment-1 on cpu, 3 threads, float32")
    filter_by(page, "backend", "torch")
    sort_by(page, "mode")
    page.wait_for_selector("#charts[data-drawn='1']")
    link = link_of(page)
    other = browser.new_context(offline=True).new_page()
    open_(other, link)
    assert other.locator("#cells tbody").inner_text() == page.locator("#cells tbody").inner_text()
    assert other.locator("#sentences").inner_text() == page.locator("#sentences").inner_text()
    assert other.locator("#panel").input_value() == "1"
    assert link_of(other) == link
    other.context.close()


def test_a_link_that_makes_no_sense_shows_the_whole_page(page: Page, address: str) -> None:
    open_(page, f"{address}#panel=77&baseline=nobody&order=x+y&nonsense=%00")
    assert page.locator("#panel").input_value() == "0"
    assert page.locator("#baseline").input_value() == "pytorch eager"


def test_the_table_can_be_copied(page: Page) -> None:
    filter_by(page, "mode", "scan")
    page.get_by_role("button", name="Copy as Markdown").click()
    page.locator("#copied", has_text="copied 2 rows as Markdown").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").strip().splitlines()
    assert len(lines) == 2 + 2
    assert lines[0].startswith("| experiment | sweep point |")
    assert "| jax | scan |" in lines[2]
    page.get_by_role("button", name="Copy as CSV").click()
    page.locator("#copied", has_text="copied 2 rows as CSV").wait_for()
    header, first, _ = page.evaluate("navigator.clipboard.readText()").strip().splitlines()
    assert float(first.split(",")[header.split(",").index("train_samples_per_second")]) > 500_000


def test_what_is_missing_or_failed_is_told_with_its_reason_and_its_log(page: Page) -> None:
    section = page.locator("section", has=page.locator("#problems"))
    open_all(page)
    text = section.inner_text()
    assert "off at step 7" in text
    assert "loss curve" in text
    assert "no module named mindspore" in text
    assert "ModuleNotFoundError: the last words" in text
    assert "mindspore graph, swept batch_size=16 on cpu, 3 threads, float32: no run in session s" in text


def test_how_it_was_measured_can_be_repeated(page: Page) -> None:
    section = page.locator("section", has=page.locator("#method"))
    open_all(page)
    text = section.inner_text()
    for part in ("lockstep run experiment-0", "A processor", "jax 1.0", "hash of experiment-0", "batch_size = 32"):
        assert part in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(page: Page, scheme: str) -> None:
    """No serious finding of axe-core, in both colour schemes."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_all(page)
    page.wait_for_timeout(300)  # the charts are drawn again
    found = Axe().run(page).response["violations"]
    serious = [item for item in found if item["impact"] in ("serious", "critical")]
    assert not serious, [(item["id"], item["nodes"][0]["html"][:200]) for item in serious]


def test_colours_follow_the_system(page: Page) -> None:
    axis = "document.querySelector('#chart-training-loss svg .role-axis-label text')"
    ink = page.evaluate(f"{axis}.getAttribute('fill')")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"ink => {axis} && {axis}.getAttribute('fill') !== ink", arg=ink)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"


def test_it_is_readable_on_a_phone(browser: Browser, address: str) -> None:
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    open_(page, address)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "only tables and charts scroll sideways"
    assert float(page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")) >= 14
    context.close()


def test_it_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    page.get_by_label("Filter backend", exact=True).focus()
    page.keyboard.type("jax")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Filter mode"
    assert set(table_of(page, "backend")) == {"jax"}
    page.locator("#cells thead th", has_text="mode").locator("[tabindex='0']").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash.includes('order=mode+asc')")


def test_on_paper_nothing_is_hidden_behind_a_control(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#copy-csv").is_visible()
    assert page.locator("#chart-throughput svg").is_visible()
    table = page.locator("#cells")
    assert table.is_visible()
    assert page.get_by_text("batch_size = 32").first.is_visible(), "what is folded on the screen is open on paper"
    page.set_viewport_size({"width": 1020, "height": 700})  # A4, less its margins
    for selector in ("#cells", "#chart-training-loss svg", "#chart-confusion svg"):
        box = page.locator(selector).bounding_box()
        assert box
        assert box["x"] + box["width"] <= 1020, f"{selector} is cut off"
