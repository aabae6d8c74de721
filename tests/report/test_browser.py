"""The page in a browser, opened from disk as a reader would."""

import shutil

import pytest

from testbed.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser to drive")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: nothing to open the page with")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path, hand, verdicts):
    """Open the page; everything the console says is gathered, and must be nothing."""
    path = write_report(tmp_path, hand, verdicts)
    said, pages = [], []

    def open_page(**settings):
        page = browser.new_page(**settings)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "blob:", "data:")) else None)
        page.goto(path.as_uri())
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("html[data-figures]", state="attached", timeout=60_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


def test_figures_are_drawn(opened):
    page = opened()
    assert page.locator("html[data-figures=drawn]").count() == 1
    assert page.locator(".plot").count() == page.locator(".plot:has(svg.main-svg)").count() > 5
    assert not page.locator("#figures-note").is_visible()


def test_theme_changes_the_figures_too(opened):
    page = opened(color_scheme="light")
    ink = "document.querySelector('.plot .xtitle').style.fill"
    before = page.evaluate(ink), page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    page.click("#theme")
    assert page.locator("#theme").inner_text() == "Dark"
    page.wait_for_timeout(1500)
    after = page.evaluate(ink), page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_columns_sort_and_oracles_stay_apart(opened):
    page = opened()
    table = page.locator("#scores table").first

    def order():
        return table.locator("tbody").first.locator("tr th").all_inner_texts()

    lead = table.locator("thead th", has_text="decoder_mcc")
    assert lead.get_attribute("aria-sort") == "descending"
    best_first = order()
    lead.locator("button").focus()
    page.keyboard.press("Enter")
    assert lead.get_attribute("aria-sort") == "ascending"
    assert order() == best_first[::-1]
    table.locator("thead th", has_text="dead_units").locator("button").click()
    assert lead.get_attribute("aria-sort") is None
    assert order()[0] == "good"
    assert table.locator("tbody.oracles tr").first.inner_text().startswith("Oracles")


def test_codes_open_on_the_first_fit_seed_and_tabs_move(opened):
    page = opened()
    panels = page.locator(".tabs").first.locator("> .panel")
    assert [panels.nth(i).is_visible() for i in range(4)] == [True, False, False, False]
    page.locator("[role=tab]").first.focus()
    page.keyboard.press("ArrowRight")
    assert [panels.nth(i).is_visible() for i in range(4)] == [False, True, False, False]
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "good · fit seed 1"


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_page_never_scrolls_sideways(opened, width):
    page = opened(viewport={"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_scripts_everything_but_the_figures_is_there(browser, tmp_path, hand, verdicts):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_report(tmp_path, hand, verdicts).as_uri())
    assert page.locator("#figures-note").is_visible()
    assert page.locator("#scores table").first.is_visible()
    assert page.locator(".panel").last.is_visible()
    assert not page.locator(".gallery").first.is_visible()
    context.close()


def test_estimators_are_filtered_and_columns_picked(opened):
    page = opened()
    rows = page.locator("#scores table").first.locator("tbody tr:visible")
    before = rows.count()
    page.fill("#tools input[type=search]", "good")
    assert 0 < rows.count() < before
    assert " rows" in page.locator("#tools [role=status]").inner_text()
    page.fill("#tools input[type=search]", "")
    assert rows.count() == before
    head = page.locator("#scores table").first.locator("thead th", has_text="decoder_mcc")
    assert head.is_visible()
    page.click("#tools summary")
    page.locator("#tools label", has_text="decoder_mcc").locator("input").uncheck()
    assert not head.is_visible()
    page.locator("#tools label", has_text="decoder_mcc").locator("input").check()
    assert head.is_visible()


def test_every_figure_is_downloaded_with_its_data(opened):
    page = opened()
    figures = page.locator(".plot").count()
    assert page.locator(".plot + .downloads").count() == figures
    with page.expect_download() as given:
        page.locator(".plot + .downloads button", has_text="Data").first.click()
    text = given.value.path().read_text()
    assert text.startswith("trace,x,y")
    assert len(text.splitlines()) > 2
    with page.expect_download() as given:
        page.locator(".plot + .downloads button", has_text="SVG").first.click()
    assert given.value.suggested_filename.endswith(".svg")
    assert "<svg" in given.value.path().read_text()[:300]
