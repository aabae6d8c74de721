"""Colours of the page: what is written can be read in both themes, and a theme chosen by hand is the theme of the system."""

import re

import pytest

from testbed.report.page import TEMPLATES

STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
ROOT = re.compile(r"(?P<selector>:root[^{]*)\{(?P<body>[^{}]*--paper[^{}]*)\}")
TOKENS = [dict(re.findall(r"--([a-z0-9-]+):\s*([^;]+);", found["body"])) for found in ROOT.finditer(STYLE)]
LIGHT, DARK = TOKENS[0], TOKENS[1]
TEXT = [
    *(("ink", ground) for ground in ("paper", "sheet", "tint", "accent-tint")),
    *(("muted", ground) for ground in ("paper", "sheet", "tint")),
    *(("accent", ground) for ground in ("paper", "sheet", "tint")),
    *((name, ground) for name in ("good", "bad", "open") for ground in ("paper", f"{name}-tint")),
    ("bad", "tint"),
]
MARKS = [
    (name, ground)
    for name in ("accent", "faint", "muted", "good", "bad", "open", *(f"series{i}" for i in range(6)))
    for ground in ("paper", "sheet")
]


def rgb(text):
    """From ``#rrggbb`` or ``r, g, b``."""
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) if text[0] == "#" else tuple(int(each) for each in text.split(","))


def luminance(colour):
    """Relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white_is_21_to_1():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast(rgb("#767676"), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


def test_a_theme_that_is_chosen_is_the_one_of_the_system():
    assert len(TOKENS) == 3
    assert TOKENS[1] == TOKENS[2]
    assert LIGHT.keys() == DARK.keys()


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "ground"), TEXT)
def test_text_has_a_contrast_of_4_5_to_1(theme, name, ground):
    assert contrast(rgb(theme[name]), rgb(theme[ground])) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "ground"), MARKS)
def test_what_is_drawn_has_a_contrast_of_3_to_1(theme, name, ground):
    assert contrast(rgb(theme[name]), rgb(theme[ground])) >= 3


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_tokens_are_read_on_the_strongest_activation(theme):
    """A mark is 0.08 to 0.7 of its colour over the sheet."""
    assert re.search(r"calc\(0\.08 \+ 0\.62 \* var\(--a\)\)", STYLE)
    ground = [0.7 * mark + 0.3 * sheet for mark, sheet in zip(rgb(theme["mark"]), rgb(theme["sheet"]), strict=True)]
    assert contrast(rgb(theme["ink"]), ground) >= 4.5


def test_nothing_is_written_in_the_colour_of_rules():
    """`--faint` and `--rule` are too pale for text; dots between facts are none."""
    assert re.findall(r"([^{}]*)\{[^{}]*(?<![-a-z])color:\s*var\(--(?:faint|rule)\)", STYLE) == ["\n.facts li:not(:last-child)::after "]


def test_what_moves_is_behind_the_readers_leave():
    """Transitions, animations and smooth scrolling only where nobody asked for less motion."""
    outside = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\}\s*\}", "", STYLE)
    assert not re.search(r"transition|animation|(?<!over)scroll-behavior", outside)
    assert "scroll-behavior: smooth" in STYLE
