"""The report as its readers meet it: in a browser, without network, by its texts and its shapes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page

from results import report
from results.report.charts import CHARTS
from results.report.page import write
from results.store import Store
from tests.results.made_up import CELLS, make_run
from tests.results.report.conftest import headings, open_, table_of


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
    page.locator("#cells thead").get_by_label(f"filter: {title}", exact=True).and_(page.locator("input")).fill(text)
    page.wait_for_function("location.hash.includes('searchInput')")


def sort_by(page: Page, title: str) -> None:
    """Click on a heading; DataTables sorts in a task of its own after that."""
    before = fragment(page)
    page.locator("#cells thead").get_by_text(title, exact=True).click()
    page.wait_for_function("before => location.hash !== before", arg=before)


def field(page: Page, line: str, cell: str) -> Locator:
    """What the first screen says of a mode, as an element."""
    row = page.locator("#matrix tbody tr", has=page.locator("th", has_text=line))
    return row.locator(f"td[data-mode='{cell}']")


def look(page: Page, line: str, cell: str) -> tuple[str, str]:
    """The state and the text of a field."""
    found = field(page, line, cell)
    state, text = found.get_attribute("class") or "", " ".join(found.inner_text().split())
    if state in ("faster", "slower", "cannot-tell"):
        text, interval = re.fullmatch(r"(.*?) ([\d.,]+ to [\d.,]+)", text).groups()  # type: ignore[union-attr]
        low, high = (float(end.replace(",", "")) for end in interval.split(" to "))
        assert low <= high
    return state, text


def test_the_first_screen_says_which_is_faster_in_words_and_colours(page: Page) -> None:
    assert page.locator("h1").inner_text() == "How fast do jax, mindspore and pytorch train the same model?"
    assert look(page, "experiment-0", "jax jit") == ("faster", "1.5x faster")
    assert look(page, "experiment-0", "jax scan") == ("faster", "3.0x faster")
    assert look(page, "experiment-0", "pytorch eager") == ("baseline", "baseline")
    assert look(page, "experiment-0", "pytorch compile") == ("cannot-tell", "cannot tell")
    strengths = [
        float((field(page, "experiment-0", cell).get_attribute("style") or "").split()[-1].rstrip("%;"))
        for cell in ("jax jit", "jax scan")
    ]
    assert strengths[0] < strengths[1], "the colour grows with the ratio"
    assert "3 rounds of fresh processes" in page.locator("#overview").inner_text()


def test_what_is_not_compared_is_seen_at_once(page: Page) -> None:
    assert look(page, "experiment-0", "pytorch cheat") == ("other-work", "equal work loss curve")
    struck = field(page, "experiment-0", "pytorch cheat").locator("s")
    assert struck.inner_text() == "equal work"
    assert "line-through" in struck.evaluate("element => getComputedStyle(element).textDecorationLine")
    assert look(page, "experiment-1", "mindspore pynative") == ("not-ok", "failed import")
    assert look(page, "experiment-1", "pytorch cheat") == ("not-run", "not run")
    assert page.locator("#footnote").is_hidden()


def test_another_baseline_changes_words_colours_and_ratios(page: Page) -> None:
    choose(page, "baseline", "jax scan")
    assert look(page, "experiment-0", "jax jit") == ("slower", "2.0x slower")
    assert look(page, "experiment-0", "jax scan") == ("baseline", "baseline")
    assert table_of(page, "against the baseline")[:2][1] == "baseline"
    assert "baseline=jax+scan" in fragment(page)
    page.wait_for_function("document.querySelector('#chart-speed svg').textContent.includes('x slower (')")


ALL_MODES = [(f"framework-{number}", mode) for number in range(6) for mode in ("eager", "compiled")]

STORES: dict[str, list[dict[str, Any]]] = {
    "one round": [{"cell": cell} for cell in CELLS],
    "one comparison": [{"cell": cell, "round_": round_} for cell in CELLS for round_ in (1, 2, 3)],
    "40 comparisons": [
        {"cell": cell, "experiment": f"e{number % 4}", "experiment_hash": str(number), "sweep_point": f"x={number}"}
        for number in range(40)
        for cell in CELLS
    ],
    "GPU beside CPU": [{"cell": cell, "device": device} for cell in CELLS for device in ("cpu", "gpu")],
    "replicas": [{"cell": cell, "replicas": number} for cell in CELLS for number in (1, 2)],
    "six frameworks": [{"cell": cell, "round_": round_} for cell in ALL_MODES for round_ in (1, 2)],
}

SHOWN = {
    "one round": ["e", "1.5x faster *"],
    "one comparison": ["e", "1.5x faster"],
    "40 comparisons": ["e0", "e3", "1.5x faster *", "each comparison by itself"],
    "GPU beside CPU": ["e cpu", "e gpu"],
    "replicas": ["e", "e 2 replicas"],
    "six frameworks": ["framework-0", "framework-5", "cannot tell"],
}


@pytest.mark.parametrize("kind", STORES)
def test_the_first_screen_of_every_kind_of_session_fits_and_says_so(
    kind: str, browser: Browser, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for number, changes in enumerate(STORES[kind]):
        own = {"experiment": "e", "round_": 1, **changes}
        store.append(make_run(number, own.pop("experiment"), own.pop("cell"), own.pop("round_"), **own))
    write(report.read(tmp_path), tmp_path / "report.html", ("pytorch", "eager"))
    for width, height in ((1280, 800), (390, 844)):
        context = browser.new_context(offline=True, viewport={"width": width, "height": height})
        page = context.new_page()
        open_(page, (tmp_path / "report.html").as_uri())
        text = page.locator("#overview").inner_text()
        assert all(part in text for part in SHOWN[kind]), text
        assert page.locator("#footnote").is_visible() == ("one-round" in page.locator("#matrix").inner_html())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 1280:
            box = page.locator("#matrix").bounding_box()
            assert box
            assert box["y"] + box["height"] <= height
        context.close()


def test_each_of_many_comparisons_can_be_unfolded(browser: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(26):
        changes: dict[str, Any] = {"sweep_point": f"batch_size={number // 2}", "experiment_hash": str(number // 2)}
        store.append(make_run(number, "e", (("jax", "jit"), ("pytorch", "eager"))[number % 2], 1, **changes))
    write(report.read(tmp_path), tmp_path / "report.html")
    page = browser.new_context(offline=True).new_page()
    open_(page, (tmp_path / "report.html").as_uri())
    assert page.locator("#matrix tbody tr").count() == 1
    page.get_by_text("each comparison by itself").click()
    page.wait_for_function("document.querySelectorAll('#matrix-all tbody tr').length === 13")
    page.context.close()


def test_a_click_on_a_field_opens_its_comparison(page: Page) -> None:
    field(page, "experiment-1", "jax jit").locator("a").click()
    page.wait_for_selector("#charts[data-drawn='1']")
    assert page.locator("#panel").input_value() == "1"
    page.wait_for_function("Math.abs(document.querySelector('#chart-speed').getBoundingClientRect().top) < 400")


def test_what_stands_out_leads_to_its_picture(page: Page) -> None:
    item = page.locator("li", has_text="pytorch cheat did other work on experiment-0 (rung: loss curve)")
    item.locator("a").click()
    page.wait_for_function("document.querySelector('#chart-distance-from-reference').getBoundingClientRect().top < 700")


def test_frameworks_are_compared_at_their_best_with_the_chosen_baselines(page: Page) -> None:
    best = re.compile(r"each at its best: jax \(scan\) against (\w+) \((.*?)\): (\S+)x faster \(")
    found = best.search(page.locator("#sentences").inner_text())
    assert found
    assert found[1] == "pytorch"
    assert 2.9 < float(found[3]) < 3.1
    choose(page, "baseline", "mindspore graph")
    page.locator("#sentences", has_text="against mindspore (graph)").wait_for()
    assert "pytorch cheat: left out of every ratio; equal work: no: loss curve; runs: 3 not-equivalent" in (
        page.locator("#sentences").inner_text()
    )


def test_curves_that_lie_on_each_other_are_said_to(page: Page) -> None:
    said = page.locator("#chart-training-loss .said").inner_text()
    assert re.match(r"All 6 modes lie on each other, within \d\.\de-07\.", said)
    assert marks(page, "training-loss", "line") == 6, "each in a chart of its own"


def test_every_chart_of_the_open_comparison_is_drawn(page: Page) -> None:
    drawn = [chart.name for chart in CHARTS if chart.name != "scaling"]
    assert [figure.get_attribute("id") for figure in page.locator("#charts figure").all()] == [
        f"chart-{name}" for name in drawn
    ]
    for name in drawn:
        assert page.locator(f"#chart-{name} svg g.role-mark > path").count() > 1, name
    cells = len(CELLS) + 1
    assert marks(page, "speed", "symbol") == 3 * len(CELLS), "what did other work has no ratio"
    assert marks(page, "speed", "rule") == len(CELLS) + len(CELLS), "an interval each, and the line at 1"
    assert marks(page, "training-loss", "line") == cells
    assert marks(page, "distance-from-reference", "line") == cells + 1, "and the envelope"
    assert marks(page, "cost", "rect") == 6 * cells, "nothing has a warm compiler"
    assert marks(page, "time-by-epochs", "line") == cells
    assert "yes" in (page.locator("#chart-confusion svg").text_content() or ""), "classes have names"
    assert marks(page, "confusion", "rect") == 4 * cells
    assert marks(page, "windows", "symbol") == 6 * 3 * cells


def test_a_sweep_is_a_curve_with_the_peak_of_the_machine(page: Page) -> None:
    choose(page, "panel", "swept batch_size=16 on cpu, 3 threads, float32")
    page.wait_for_selector("#charts[data-drawn='2']")
    assert marks(page, "scaling", "line") == 2 + 2 + 1
    assert "the machine's peak" in (page.locator("#chart-scaling svg").text_content() or "")


def test_a_click_on_a_heading_sorts_by_numbers(page: Page) -> None:
    sort_by(page, "throughput, samples/s")
    texts = table_of(page, "throughput, samples/s")
    figures = [float(text.split()[0].replace(",", "")) for text in texts if text != "-"]
    assert len(figures) == len(texts) - 2, "those of cells that failed or did other work"
    assert figures == sorted(figures)


def test_filters_by_text_and_by_number_reach_the_charts(page: Page) -> None:
    filter_by(page, "backend", "JAX")
    assert set(table_of(page, "backend")) == {"jax"}
    page.wait_for_function("document.querySelectorAll('#chart-training-loss g.mark-line.role-mark > *').length == 2")
    throughput = page.locator("#cells thead").get_by_label("filter: throughput, samples/s", exact=True)
    throughput.and_(page.locator("select")).select_option("greater")
    throughput.and_(page.locator("input")).fill("400000")
    page.wait_for_function("document.querySelectorAll('#chart-training-loss g.mark-line.role-mark > *').length == 1")
    assert set(table_of(page, "mode")) == {"scan"}


def test_the_columns_that_answer_come_first_and_the_others_on_demand(page: Page) -> None:
    first = headings(page)
    assert first[:4] == ["experiment", "sweep point", "backend", "mode"]
    assert {"against the baseline", "test accuracy", "equal work", "status"} <= set(first)
    assert "peak memory, MiB" not in first
    page.locator(".buttons-colvis").click()
    page.locator(".dt-button-collection").get_by_text("peak memory, MiB").click()
    assert "peak memory, MiB" in headings(page)
    page.keyboard.press("Escape")
    page.locator(".tall").evaluate("element => element.scrollTo(0, 400)")
    top = page.locator(".tall").evaluate("element => element.getBoundingClientRect().top")
    assert abs(page.locator("#cells thead").evaluate("head => head.getBoundingClientRect().top") - top) < 3


def test_a_copied_link_shows_the_same_view(page: Page, browser: Browser, address: str) -> None:
    choose(page, "baseline", "jax scan")
    choose(page, "panel", "experiment-1 on cpu, 3 threads, float32")
    filter_by(page, "backend", "torch")
    sort_by(page, "mode")
    page.wait_for_selector("#charts[data-drawn='1']")
    page.locator(".buttons-colvis").click()
    page.locator(".dt-button-collection").get_by_text("device").click()
    link = link_of(page)
    other = browser.new_context(offline=True).new_page()
    open_(other, link)
    assert other.locator("#cells tbody").inner_text() == page.locator("#cells tbody").inner_text()
    assert headings(other) == headings(page)
    for part in ("#sentences", "#matrix"):
        assert other.locator(part).inner_text() == page.locator(part).inner_text()
    assert other.locator("#panel").input_value() == "1"
    assert link_of(other) == link
    other.context.close()


def test_a_link_that_makes_no_sense_shows_the_whole_page(page: Page, address: str) -> None:
    open_(page, f"{address}#panel=77&baseline=nobody&table=%5B1&nonsense=%00")
    assert page.locator("#panel").input_value() == "0"
    assert page.locator("#baseline").input_value() == "pytorch eager"


def test_a_framework_s_program_is_folded_and_can_be_copied(page: Page) -> None:
    section = page.locator("section[aria-labelledby=scripts]")
    assert not section.locator("pre").first.is_visible()
    section.locator("summary").click()
    assert section.locator("pre").count() == 2
    section.get_by_role("button", name="copy").first.click()
    page.locator("#copied", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "x = y < 2\nprint(x)\n"


def test_the_table_can_be_copied_and_saved(page: Page) -> None:
    filter_by(page, "mode", "scan")
    page.get_by_role("button", name="copy as Markdown").click()
    page.locator("#copied", has_text="copied 2 rows").wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").strip().splitlines()
    assert len(lines) == 2 + 2
    assert lines[0].startswith("| experiment | sweep point | backend |")
    assert "| jax | scan |" in lines[2]
    with page.expect_download() as download:
        page.get_by_role("button", name="save as CSV").click()
    rows = pd.read_csv(download.value.path())
    assert len(rows) == 2
    assert rows["throughput, samples/s"].min() > 500_000


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
    assert look(page, "experiment-0", "jax jit") == ("faster", "1.5x faster")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#matrix tbody td'), '::before').content") == '"jax jit"'
    )
    assert float(page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")) >= 14
    context.close()


def test_it_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    field(page, "experiment-1", "jax jit").locator("a").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#charts[data-drawn='1']")
    page.locator("#cells thead input").nth(2).focus()
    page.keyboard.type("jax")
    page.wait_for_function("location.hash.includes('jax')")
    assert set(table_of(page, "backend")) == {"jax"}


def test_on_paper_nothing_is_hidden_behind_a_control(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.get_by_role("button", name="save as CSV").is_visible()
    assert page.locator("#chart-speed svg").is_visible()
    table = page.locator("#cells")
    assert table.is_visible()
    assert page.get_by_text("batch_size = 32").first.is_visible(), "what is folded on the screen is open on paper"
    page.set_viewport_size({"width": 1020, "height": 700})  # A4, less its margins
    for selector in ("#matrix", "#cells", "#chart-training-loss svg", "#chart-confusion svg"):
        box = page.locator(selector).bounding_box()
        assert box
        assert box["x"] + box["width"] <= 1020, f"{selector} is cut off"
