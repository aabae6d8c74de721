"""The page: one file that needs nothing else, in which everything of a run appears and nothing of it is executed."""

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from testbed.report import write_report
from testbed.report.page import environment

VOID = {"meta", "br", "wbr", "col", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the text outside of scripts, and what each script holds."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.scripts, self.open, self.unbalanced = [], [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def text(tmp_path, hand, verdicts):
    return write_report(tmp_path, hand, verdicts).read_text(encoding="utf-8")


@pytest.fixture
def page(text):
    return Page(text)


def test_report_is_one_file(tmp_path, hand, verdicts):
    assert write_report(tmp_path, hand, verdicts) == tmp_path / "report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_page_refers_to_nothing_outside(page, text):
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
    assert "@import" not in text
    assert "url(" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_page_forbids_the_network(page):
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_elements_are_closed_in_order(page):
    assert not page.open
    assert not page.unbalanced


def test_hostile_labels_stay_text(page, text):
    """Only the page's own scripts are scripts; what a record says stands in the page as it was said."""
    assert [attributes.get("type") for attributes, _ in page.scripts] == ["application/json", "text/plain", "text/plain", None]
    assert "<script>alert" not in text
    assert not page.all("b")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count("<script>alert('x')</script>") >= 10


def test_json_in_the_page_cannot_end_its_script(page):
    specs = json.loads(page.scripts[0][1])
    assert specs
    assert not any(sign in page.scripts[0][1] for sign in "<>&")


def test_every_claim_appears_with_its_verdict(page, verdicts):
    shown = [attributes["data-claim"] for attributes in page.all("tr") if "data-claim" in attributes]
    assert shown == [verdict.id for verdict in verdicts]
    for verdict in verdicts:
        assert verdict.statement in page.text
    for words in ("✓ 2 shown", "✕ 2 not shown", "? 3 undecided", "one value has no interval", "within ±0.020"):
        assert words in page.text


def test_verdicts_say_more_than_colour(page):
    assert {"interval shown", "interval not-shown", "interval undecided"} <= {a.get("class") for a in page.all("svg")}
    for attributes in page.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") or "x" in attributes


def test_every_component_failure_and_reason_appears(page, hand):
    for kind in ("generators", "estimators", "evaluators"):
        for use in hand.run[kind]:
            assert use["label"] in "".join(page.words)
    for failure in hand.failures:
        assert failure["trial"] in page.text
    assert "nobody knows the truth of these data" in page.text
    assert "a tree" in page.text
    assert "Q4_1 weights, dequantised" in page.text


def test_floors_calibration_and_classes_are_in_words(page):
    titles = " ".join(attributes.get("title", "") for _, attributes in page.elements)
    for words in ("calibrated: 74 % of the way from chance to ceiling", "not above a floor: random_rotation (0.450)"):
        assert words in titles
    for words in ("≤ floor", "1 score whose class is not the one that theorems promise", "a high score does not show recovery"):
        assert words in page.text


def test_code_in_descriptions_is_code_and_the_rest_stays_text():
    write = environment().from_string("{{ text | coded }}").render
    assert write(text="As `quick`, <b> and `<i>` do.") == "As <code>quick</code>, &lt;b&gt; and <code>&lt;i&gt;</code> do."
    assert write(text="one ` alone") == "one ` alone"


def test_long_tracebacks_keep_their_end(text):
    assert text.count("    deep\n") < 4 * 700
    assert text.count("…\n    deep\n") == 4  # from the beginning of a line


def test_page_is_small(text):
    assert 1_000_000 < len(text.encode()) < 3_000_000


def test_run_without_scores_still_has_a_page(tmp_path, empty):
    text = write_report(tmp_path, empty, []).read_text(encoding="utf-8")
    page = Page(text)
    for words in ("There are no scores yet.", "This suite makes no claims.", "Nothing failed.", "0 of 60 trials"):
        assert words in page.text
    assert len(text) < 100_000  # no figures, so no plotly
    assert "60 not run." in page.text


def test_trials_are_counted_and_packed_not_written_out(page, text):
    """What a reader has not asked for is neither in the page's text nor among its elements."""
    assert "60 trials" in page.text
    assert "56 done, 4 failed." in page.text
    assert "an_estimator_with_a_rather_long_label_indeed/2/" not in text
    assert not [a for a in page.all("tr") if "data-trial" in a]
    assert "testbed export DIR writes every score" in page.text


def test_page_says_which_trials_it_has_no_room_for(tmp_path, hand, monkeypatch):
    monkeypatch.setattr("testbed.report.trials.BUDGET", 1500)
    page = Page(write_report(tmp_path, hand, []).read_text(encoding="utf-8"))
    assert "Parts of scores left out to keep the page small: testbed export DIR has them." in page.text
    assert re.search("[1-9][0-9]? trials left out to keep the page small: testbed export DIR has all.", page.text)
    assert "56 done, 4 failed." in page.text


def test_settings_that_came_out_in_many_ways_are_counted(tmp_path, hand):
    fits = [{**fit, "params": {"k": i}} for i, fit in enumerate(hand.fits)]
    text = write_report(tmp_path, dataclasses.replace(hand, fits=fits), []).read_text(encoding="utf-8")
    assert "k = 0 / 1 / 10 / 11 / 20 / 21 / … (12 values)" in text


def test_failures_lead_to_their_trials(page, hand):
    assert {a["data-trial"] for a in page.all("p") if "data-trial" in a} == {failure["trial"] for failure in hand.failures}


@pytest.mark.slow
def test_ten_thousand_trials_stay_a_small_page(tmp_path, crowd, verdicts):
    path = write_report(tmp_path, crowd(10_000), verdicts)
    assert path.stat().st_size < 10_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert "10,000 done." in page.text
    assert not [a for a in page.all("tr") if "data-trial" in a]


def test_headings_go_down_one_step_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4", "h5"}]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_scopes(page):
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in attributes for attributes in page.all("th"))


def test_a_real_run_is_reported_with_its_machine(toys):
    from typer.testing import CliRunner

    from testbed.cli import app

    outcome = CliRunner().invoke(app, ["run", "toy.toml", "--preset", "tiny"])
    assert outcome.exit_code == 0, outcome.output
    page = Page(Path("runs/toy/report.html").read_text(encoding="utf-8"))
    for words in ("A toy suite", "oracle-at-ceiling", "torch", "cores", "Oracles: these see the truth"):
        assert words in page.text


def test_rendering_loads_no_torch_sklearn_or_plotly(tmp_path):
    """A run with nothing to do writes the page again, and must not pay for them."""
    code = "import sys, testbed.report; print([m for m in ('torch', 'sklearn', 'plotly') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
