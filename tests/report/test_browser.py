"""The page in a browser, opened from disk as a reader would."""

import shlex
import shutil
from contextlib import contextmanager
from itertools import pairwise

import pytest

from testbed.plan import seed_of_fit, seed_of_instance
from testbed.report import write_overview, write_report
from testbed.report.text import number

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


@contextmanager
def opening(browser, path):
    """Open a page as often as wanted; everything the console says is gathered, and must be nothing."""
    said, pages = [], []

    def open_page(address="", **settings):
        page = browser.new_page(**settings)
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "blob:", "data:")) else None)
        page.goto(path.as_uri() + address)
        if settings.get("java_script_enabled", True):
            page.wait_for_selector("html[data-figures]", state="attached", timeout=60_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert said == []


@pytest.fixture
def opened(browser, tmp_path, hand, verdicts):
    with opening(browser, write_report(tmp_path, hand, verdicts)) as open_page:
        yield open_page


@pytest.fixture
def bare(browser, tmp_path, hand, verdicts, monkeypatch):
    """As `opened`, of a page without figures, which take seconds to draw."""
    monkeypatch.setattr("testbed.report.page.galleries", lambda *_: [])
    with opening(browser, write_report(tmp_path, hand, verdicts)) as open_page:
        yield open_page


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


def test_columns_sort_and_oracles_stay_apart(bare):
    page = bare()
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


def test_codes_open_on_the_first_fit_seed_and_tabs_move(bare):
    page = bare()
    panels = page.locator(".tabs").first.locator("> .panel")
    assert [panels.nth(i).is_visible() for i in range(4)] == [True, False, False, False]
    page.locator("[role=tab]").first.focus()
    page.keyboard.press("ArrowRight")
    assert [panels.nth(i).is_visible() for i in range(4)] == [False, True, False, False]
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "good · fit seed 1"


def test_the_open_tab_is_in_sight_on_a_phone(bare):
    page = bare(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page.locator("[role=tab]").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    box = page.locator("[role=tab][aria-selected=true]").bounding_box()
    assert page.locator("[role=tab]").first.bounding_box()["x"] < 0
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


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
    assert "testbed export DIR" in page.locator("#trials-note").inner_text()
    assert not page.locator("#trial-list").is_visible()
    assert page.locator("#scores a").count() == page.locator("#scores a.why").count()  # no way that leads nowhere
    assert page.locator("#scores table").first.is_visible()
    assert page.locator(".panel").last.is_visible()
    assert not page.locator(".gallery").first.is_visible()
    context.close()


def test_estimators_are_filtered_and_columns_picked(bare):
    page = bare()
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


def test_page_of_several_suites_has_its_theme_too(browser, tmp_path, hand, verdicts):
    path = write_overview(tmp_path, [(hand.run["suite"], verdicts), ({**hand.run["suite"], "name": "other"}, [])])
    with opening(browser, path) as open_page:
        page = open_page(color_scheme="light")
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        assert page.locator("main section").count() == 2


# ------------------------------------------------------------------------------------------------------------------- trials

ROWS = "#trial-table tbody tr"
OPEN = "dialog[open]"
DONE = "known & true/0/good/1"


def names(page):
    """Estimator, generator, instance and fit seed of each row that is shown."""
    return [tuple(row[:4]) for row in cells(page)]


def unfold(page):
    page.click("#trial-list > summary")
    page.wait_for_selector(ROWS)


def escape(page):
    page.keyboard.press("Escape")
    page.wait_for_url("**#trials")
    assert page.locator(OPEN).count() == 0


def cells(page):
    return page.evaluate(f"[...document.querySelectorAll('{ROWS}')].map((row) => [...row.cells].map((cell) => cell.textContent))")


def test_trials_are_unpacked_only_when_asked_for(bare):
    page = bare()
    assert page.locator(ROWS).count() == 0
    assert page.locator("#trials-gzip").count() == 1
    assert "56 done, 4 failed." in page.locator("#trials .hint").first.inner_text()
    unfold(page)
    assert page.locator(ROWS).count() == 50
    assert page.locator("#trials-gzip").count() == 0
    assert page.locator("#trial-count").inner_text() == "60 trials, 1 to 50 shown"
    page.locator("#trial-pager button", has_text="Next").click()
    assert page.locator(ROWS).count() == 10
    assert page.locator("#trial-count").inner_text() == "60 trials, 51 to 60 shown"
    page.locator("#trial-pager button", has_text="Next").press("Enter")  # there is no next page: nothing happens
    assert page.locator("#trial-pager .aside").inner_text() == "page 2 of 2"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_trial_opens_by_click_and_closes_by_escape(bare, width):
    page = bare(viewport={"width": width, "height": 844})
    unfold(page)
    row = page.locator(ROWS, has_text="good").nth(1)
    row.locator("td").nth(2).click()
    trial = page.locator(OPEN)
    assert trial.locator("h2").inner_text() == "good"
    assert "on known & true, instance 0, fit seed 1" in trial.inner_text()
    assert page.url.endswith("#trial=known%20%26%20true/0/good/1")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width
    escape(page)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"Open trial {DONE}"


def test_a_trial_opens_by_keyboard_alone(bare):
    page = bare()
    page.locator("#trial-list > summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(ROWS)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))
        if str(reached[-1]).startswith("Open trial"):
            break
    assert reached[:4] == ["Search trials", "trial-generator", "trial-estimator", "trial-state"]
    page.keyboard.press("Enter")
    page.wait_for_selector(OPEN)
    assert page.evaluate("document.activeElement.id") == "trial-name"
    first = page.url
    next_one = page.locator(f"{OPEN} button", has_text="Next")
    next_one.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != first)
    assert next_one.evaluate("(each) => each === document.activeElement")
    for _ in range(30):  # the focus goes round within the trial (by way of the browser itself)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.closest('dialog') !== null")
    escape(page)
    assert page.evaluate("document.activeElement.closest('tr').dataset.trial") == "1"


def test_a_link_opens_its_trial(bare, hand):
    """Unpacked at once, in the right page of the table, with everything that is known of it."""
    page = bare("#trial=language%20model/2/oracle/1")
    page.wait_for_selector(OPEN)
    assert page.locator("#trial-name").inner_text() == "oracle"
    escape(page)
    assert page.locator("#trial-pager .aside").inner_text() == "page 2 of 2"
    assert page.evaluate("document.activeElement.textContent") == "oracle"
    page.evaluate("location.hash = '#trial=known & true/2/middling <b>/0'")  # as a person would type it
    page.wait_for_selector(OPEN)
    failed = page.locator(OPEN).inner_text()
    assert "ValueError: <script>alert('x')</script>" in failed
    assert "2 attempts" in failed
    assert page.locator(f"{OPEN} pre").inner_text().endswith("ValueError: <script>alert('x')</script>")
    assert page.locator(f"{OPEN} script, {OPEN} b").count() == 0
    page.go_back()
    page.wait_for_selector(OPEN, state="detached")


def test_an_address_of_no_trial_says_so(bare):
    page = bare("#trial=nobody/0/%E0%A4%A/0")
    page.wait_for_selector(ROWS)
    assert page.locator(OPEN).count() == 0
    assert page.locator("#trial-count").inner_text() == "There is no trial nobody/0/%E0%A4%A/0 here."


def test_a_trial_shows_scores_levels_settings_seeds_and_commands(bare, hand):
    page = bare(f"#trial={DONE}")
    page.wait_for_selector(OPEN)
    row = hand.scores[(hand.scores["trial"] == DONE) & (hand.scores["evaluator"] == "decoder_mcc")].iloc[0]
    shown = page.locator(f"{OPEN} tr", has_text="decoder_mcc").first.locator("th, td").all_inner_texts()
    floors = [f"{name} {number(level)}" for name, level in row["floors"].items()]
    assert [shown[0], shown[1], shown[3], shown[4]] == ["decoder_mcc", *map(number, (row["value"], row["chance"], row["ceiling"]))]
    assert shown[5].split("\n") == floors
    strip = page.locator(f"{OPEN} tr", has_text="decoder_mcc").first.locator("svg")
    share = (row["value"] - row["chance"]) / (row["ceiling"] - row["chance"])
    assert strip.get_attribute("aria-label") == f"{100 * share:.0f} % of the way from chance to ceiling"
    text = page.locator(OPEN).inner_text()
    assert "does not apply: no text" in text
    for name, value in (("k", 8), ("lr", 0.01)):
        assert page.locator(f"{OPEN} .settings code", has_text=f"{name} = {value}").count()
    assert f"drawn from seed {seed_of_instance(7, 0)}" in text
    assert f"fitted with seed {seed_of_fit(7, 0, 1)}" in text
    assert "fit fit known &" in text  # the first digits of the stage's key


def test_commands_are_copied_as_a_shell_takes_them(bare, tmp_path):
    page = bare(f"#trial={DONE}")
    page.wait_for_selector(OPEN)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(f"{OPEN} .copy button").nth(1).click()
    sync_api.expect(page.locator(f"{OPEN} .copy [role=status]").nth(1)).to_have_text("copied")
    assert shlex.split(page.evaluate("navigator.clipboard.readText()")) == ["testbed", "replay", str(tmp_path), "--trial", DONE]
    assert shlex.split(page.locator(f"{OPEN} .copy code").first.inner_text()) == ["testbed", "show", str(tmp_path), "--trial", DONE]


def test_trials_are_searched_and_filtered(bare):
    page = bare()
    unfold(page)
    page.fill("#trial-search", "GOOD known 1")
    assert {row[0] for row in names(page)} == {"good"}
    assert page.locator("#trial-count").inner_text() == "4 trials of 60, 1 to 4 shown"
    page.keyboard.press("Enter")  # a form of one field: the page stays
    assert page.locator("#trial-count").inner_text() == "4 trials of 60, 1 to 4 shown"
    page.fill("#trial-search", "")
    page.select_option("#trial-generator", "language model")
    page.select_option("#trial-estimator", "middling <b>")
    page.select_option("#trial-state", "failed")
    assert names(page) == [("middling <b>", "language model", "2", str(seed)) for seed in range(2)]
    page.select_option("#trial-state", "done")
    page.fill("#trial-search", "nothing")
    assert page.locator("#trial-count").inner_text() == "No trial is like that."
    assert page.locator(ROWS).count() == 0


def test_every_column_of_trials_sorts(bare):
    page = bare()
    unfold(page)
    heads = page.locator("#trial-table thead th")
    texts = heads.all_inner_texts()
    for at, head in enumerate(texts):
        found = {}
        for _ in range(2):
            heads.nth(at).locator("button").click()
            assert heads.nth(at).get_attribute("aria-sort") is not None
            assert page.locator("#trial-table [aria-sort]").count() == 1
            found[heads.nth(at).get_attribute("aria-sort")] = [row[at] for row in cells(page)]
        if head in ("instance", "fit seed") or head.split()[0] in ("decoder_mcc", "explained_variance", "dead_units", "l0"):
            for way, sign in (("ascending", 1), ("descending", -1)):
                values = [sign * float(text.replace("−", "-").replace(",", "")) for text in found[way] if text != "–"]
                assert values == sorted(values), head
                assert found[way] == [text for text in found[way] if text != "–"] + [text for text in found[way] if text == "–"]
        else:
            assert set(found) == {"ascending", "descending"}


def test_estimators_and_failures_lead_to_their_trials(bare):
    page = bare()
    page.locator("#scores table").first.locator("a", has_text="middling <b>").click()
    page.wait_for_selector(ROWS)
    assert len(names(page)) == 6
    assert {row[:2] for row in names(page)} == {("middling <b>", "known & true")}
    assert page.evaluate("document.activeElement.id") == "h-trials"
    page.select_option("#trial-estimator", "good")
    page.locator("#scores table").first.locator("a", has_text="middling <b>").click()  # the same address once more
    assert {row[0] for row in names(page)} == {"middling <b>"}
    page.locator(".failure summary").first.click()
    page.locator(".failure a").first.click()
    assert page.locator("#trial-name").inner_text() == "middling <b>"
    page.locator(f"{OPEN} button", has_text="Close").click()
    page.wait_for_selector(OPEN, state="detached")


# -------------------------------------------------------------------------------------------------------------- accessibility


def test_skip_link_comes_first_and_leads_past_the_top(bare):
    page = bare()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the claims"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def everything(page):
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_selector(ROWS)
    page.evaluate(f"location.hash = '#trial={DONE}'")
    page.wait_for_selector(OPEN)


def test_every_control_has_a_name_and_every_table_its_heads(bare):
    page = bare()
    everything(page)
    controls = "button, input, select, summary, a[href], [role=tab], [role=region]"
    nameless = f"""[...document.querySelectorAll('{controls}')].filter((each) =>
        !(each.textContent.trim() || each.getAttribute('aria-label') || each.labels?.length)).map((each) => each.outerHTML)"""
    assert page.evaluate(nameless) == []
    assert page.evaluate("[...document.querySelectorAll('table')].filter((each) => !each.caption || !each.tHead?.rows.length).length") == 0
    assert page.evaluate("[...document.querySelectorAll('th')].filter((each) => !each.scope).length") == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))
    there = page.evaluate(
        """[...document.querySelectorAll('[aria-labelledby], [aria-controls]')].map(
            (each) => each.getAttribute('aria-labelledby') ?? each.getAttribute('aria-controls'))"""
    )
    there += [href[1:] for href in page.evaluate("[...document.links].map((each) => each.getAttribute('href'))") if "=" not in href]
    assert set(there) <= set(ids)


def test_headings_that_are_rendered_go_down_one_step_at_a_time(bare):
    page = bare()
    everything(page)
    for root in ("main", "dialog"):
        headings = f"[...document.querySelectorAll('{root} :is(h2, h3, h4, h5)')].filter((each) => each.getClientRects().length)"
        levels = page.evaluate(f"{headings}.map((each) => Number(each.tagName[1]))")
        assert levels[0] == 2
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_regions_have_names_of_their_own(bare):
    page = bare()
    everything(page)
    named = """[...document.querySelectorAll('[role=region], [role=search], section[aria-labelledby], nav')].map(
        (each) => each.getAttribute('aria-label') ?? document.getElementById(each.getAttribute('aria-labelledby')).textContent)"""
    names = page.evaluate(named)
    assert len(names) == len(set(names)) > 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_focus_is_seen(bare, scheme):
    page = bare(color_scheme=scheme)
    unfold(page)
    page.locator("#trial-search").focus()
    for _ in range(8):
        outline = page.evaluate(
            "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert outline == ["solid", "2px"]
        page.keyboard.press("Tab")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_less_motion_is_heeded(bare, motion):
    page = bare(reduced_motion=motion)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == ("auto" if motion == "reduce" else "smooth")


def test_thousands_of_trials_wait_until_they_are_asked_for(browser, tmp_path, crowd, verdicts, monkeypatch):
    monkeypatch.setattr("testbed.report.page.galleries", lambda *_: [])
    with opening(browser, write_report(tmp_path, crowd(1_000), verdicts)) as open_page:
        page = open_page()
        assert page.locator(ROWS).count() == 0
        unfold(page)
        assert page.locator(ROWS).count() == 50
        assert page.locator("#trial-count").inner_text() == "1,000 trials, 1 to 50 shown"
