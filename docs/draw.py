"""Draw the pictures of the documentation: ``python docs/draw.py`` writes docs/images/*.svg."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from evaluators.verdict import Verdict
from generators.bare_concepts import BareConcepts
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Generator, Outcome
from testbed.estimators.baselines.hand_made import HandMade
from testbed.numerics.matching import cross_correlation, mean_correlation
from testbed.report.hierarchy import hierarchy_svg

IMAGES = Path(__file__).parent / "images"
INK = "#6f7d99"  # readable on white and on black: an image does not know the page's theme


# ------------------------------------------------------------------------------------------------------------ the models

HIERARCHIES: dict[str, tuple[Generator, str]] = {
    "model-sparse": (SparseConcepts(levels=[3, 10, 36]), "Three levels of sparse concepts; a larger dot fires more often"),
    "model-discrete": (DiscreteHierarchy(depth=3, branching=[2, 3, 2], roots=2), "A discrete hierarchy of four levels and two roots"),
    "model-continuous": (
        ContinuousHierarchy(levels=(1, 3, 9), cells=32),  # the graph does not depend on cells, the time does
        "A continuous hierarchy of nine leaves in three composites under one",
    ),
}


def hierarchy(name: str) -> str:
    generator, title = HIERARCHIES[name]
    truth = generator.draw(0).truth
    assert truth is not None
    return hierarchy_svg(truth, title).replace("<svg ", f'<svg color="{INK}" ', 1) + "\n"


# ----------------------------------------------------------------------------------------------------- pitfalls of metrics

WIDE, HIGH, GAP = 260, 200, 30
COLOURS = (INK, "#c2603a", "#2f8f6b")


class Panel:
    """Axes of 0 to 1 (lines) or about zero (points), with a caption above."""

    def __init__(self, caption: str, x: str, y: str) -> None:
        self.caption, self.x, self.y = caption, x, y
        self.marks: list[str] = []

    def points(self, x: Tensor, y: Tensor) -> Panel:
        """At most 200 points, both standardised, three deviations wide."""
        for u, v in zip(*(((t - t.mean()) / t.std())[:200].clamp(-3, 3).tolist() for t in (x, y)), strict=True):
            self.marks.append(
                f'<circle cx="{WIDE * (u + 3) / 6:.0f}" cy="{HIGH * (3 - v) / 6:.0f}" r="2" fill="{INK}" fill-opacity="0.6"/>'
            )
        return self

    def lines(self, x: Sequence[float], **curves: Sequence[float]) -> Panel:
        for number, (label, curve) in enumerate(curves.items()):
            colour = COLOURS[number]
            path = " ".join(f"{WIDE * u / max(x):.0f},{HIGH * (1 - min(max(v, 0), 1)):.0f}" for u, v in zip(x, curve, strict=True))
            self.marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            self.marks.append(
                f'<text x="{WIDE - 4}" y="{84 + 18 * number}" text-anchor="end" fill="{colour}">{label.replace("_", " ")}</text>'
            )
        return self

    def bars(self, **bars: float) -> Panel:
        for number, (label, value) in enumerate(bars.items()):
            tall, left = 0.85 * HIGH * value, 8 + number * 122
            self.marks.append(f'<rect x="{left}" y="{HIGH - tall:.0f}" width="60" height="{tall:.0f}" fill="{COLOURS[number]}"/>')
            self.marks.append(f'<text x="{left}" y="{HIGH - tall - 6:.0f}">{label.replace("_", " ")}: {value:.2f}</text>')
        return self


def panels(title: str, *drawn: Panel) -> str:
    """Panels side by side, as an SVG."""
    width, height = len(drawn) * (WIDE + GAP) + GAP, HIGH + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" fill="{INK}" font-size="13" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
    ]
    for number, panel in enumerate(drawn):
        parts.append(f'<g transform="translate({GAP + number * (WIDE + GAP)} 34)"><text y="-14">{escape(panel.caption)}</text>')
        parts.append(f'<rect width="{WIDE}" height="{HIGH}" fill="none" stroke="{INK}" stroke-opacity="0.4"/>')
        parts += panel.marks
        parts.append(f'<text x="{WIDE / 2:g}" y="{HIGH + 20}" text-anchor="middle">{escape(panel.x)}</text>')
        parts.append(f'<text transform="translate(-8 {HIGH / 2:g}) rotate(-90)" text-anchor="middle">{escape(panel.y)}</text></g>')
    return "".join([*parts, "</svg>"]) + "\n"


def coded(kind: str, amount: float | None = None, correlation: float = 0.9) -> Outcome:
    """Hand-made codes of 12 concepts."""
    instance = BareConcepts(correlation=correlation).draw(0)
    estimator = HandMade(kind, amount).fit(instance.sample(4096, 0).observed, seed=0)
    sample = instance.sample(4000, 0, "test")
    return Outcome(estimator.encode(sample.observed), sample, "concepts", None, None, instance.truth, instance, estimator.encode)


def r(x: Tensor, y: Tensor) -> str:
    return f"r = {float(torch.corrcoef(torch.stack([x, y]))[0, 1]):.2f}"


def copies() -> str:
    outcome = coded("common_factor")
    free = outcome.instance.unselected().sample(4000, 0, "test")  # type: ignore[union-attr]
    assert outcome.encode is not None
    pairs = [(outcome.sample.latents[1][:, 0], outcome.codes[:, 0]), (free.latents[1][:, 0], outcome.encode(free.observed)[:, 0])]
    names = ("selected together", "the same code, nothing selected")
    drawn = (
        Panel(f"{name}: {r(z, a)}", "concept", "copy of the common factor").points(z, a) for name, (z, a) in zip(names, pairs, strict=True)
    )
    return panels("A copy of what twelve concepts have in common follows each of them, while they are selected together", *drawn)


def sums() -> str:
    outcome = coded("perfect")
    z = outcome.sample.latents[1]
    z = (z - z.mean(dim=0)) / z.std(dim=0)
    a = z[:, 0] + z[:, 1]
    left = [t - z[:, 0] * (t * z[:, 0]).mean() for t in (a, z[:, 1])]
    return panels(
        "The sum of two concepts follows either; given the first it still follows the second",
        Panel(f"sum of two, correlation 0.9: {r(z[:, 0], a)}", "first concept", "code").points(z[:, 0], a),
        Panel(f"the same, given the first: {r(left[1], left[0])}", "second concept", "code").points(left[1], left[0]),
    )


def rotations() -> str:
    steps = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0]
    mcc, share = [], []
    for step in steps:
        outcome = coded("path", step)
        z = outcome.sample.latents[1]
        mcc.append(mean_correlation(*(cross_correlation(z[half], outcome.codes[half]) for half in (slice(0, 2000), slice(2000, 4000)))))
        share.append(Verdict().score(outcome, seed=0).value)
    return panels(
        "From perfect codes to a random rotation of them, MCC hardly falls",
        Panel("correlation 0.9", "from perfect codes to a rotation", "score").lines(steps, MCC=mcc, recovered_by_verdict=share),
    )


def readouts() -> str:
    g = torch.Generator().manual_seed(0)
    n, counts = 1000, [1, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    z, codes = torch.randn(2 * n, 1, generator=g, dtype=torch.float64), torch.randn(2 * n, 900, generator=g, dtype=torch.float64)
    inside, outside = [], []
    for m in counts:
        weights = torch.linalg.lstsq(codes[:n, :m], z[:n]).solution
        errors = (z - codes[:, :m] @ weights).square()
        inside.append(1 - float(errors[:n].mean() / z[:n].square().mean()))
        outside.append(1 - float(errors[n:].mean() / z[n:].square().mean()))
    drawn = Panel("read off m codes of noise, 1,000 rows", "m, up to 900", "R2").lines(counts, in_sample=inside, held_out=outside)
    return panels("In sample, R2 of noise grows with the number of codes; held out it is not above 0", drawn)


def few() -> str:
    drawn = Panel("64 of 1,024 concepts are copied", "", "mean correlation").bars(over_codes=1.0, over_concepts=64 / 1024)
    return panels("A mean over the codes forgets what was missed", drawn)


def halves() -> str:
    drawn = []
    for kind, caption in (("split", "positive part"), ("sign_even", "absolute value")):
        outcome = coded(kind, correlation=0.0)
        z, a = outcome.sample.latents[1][:, 0], outcome.codes[:, 0]
        drawn.append(Panel(f"{caption}: {r(z, a)}", "concept", "code").points(z, a))
    return panels("Codes that depend on one concept alone, from which it cannot be read", *drawn)


# ----------------------------------------------------------------------------------------------------- the way of the data

TRUE, FOUND = COLOURS[1:]  # what is made with the truth, and what estimators make


class Chart:
    """Boxes, symbols and arrows, each placed by hand."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" fill="{INK}" font-size="14" '
            f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
        ]

    def box(self, x: int, y: int, width: int, height: int, name: str, *says: str, colour: str = INK, dashed: bool = False) -> None:
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="none" stroke="{colour}"{dashes}/>')
        self.text(x + width // 2, y + height // 2 + 5 - 8 * len(says), name, colour=colour, anchor="middle", size=16, bold=True)
        for line, text in enumerate(says):
            self.text(x + width // 2, y + height // 2 + 22 - 8 * len(says) + 16 * line, text, anchor="middle", size=14)

    def text(self, x: int, y: int, text: str, *, colour: str = INK, anchor: str = "start", size: int = 14, bold: bool = False) -> None:
        """Text, in which ``V_0,1`` has an index."""
        body = re.sub(r"_(\w+(?:,\w+)*)", r'<tspan dy="4" font-size="10">\1</tspan><tspan dy="-4">&#8203;</tspan>', escape(text))
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{weight}>{body}</text>')

    def arrow(self, *points: tuple[int, int], colour: str = INK, dashed: bool = False) -> None:
        """Along the points, with a head at the last one."""
        (u, v), (x, y) = points[-2:]
        length = math.hypot(x - u, y - v)
        a, b = (x - u) / length, (y - v) / length
        head = " ".join(f"{x - 9 * a - 4 * s * b:.1f},{y - 9 * b + 4 * s * a:.1f}" for s in (-1, 1))
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        line = " ".join(f"{p},{q}" for p, q in [*points[:-1], (round(x - 8 * a), round(y - 8 * b))])
        self.parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}"{dashes}/><polygon points="{x},{y} {head}" fill="{colour}"/>'
        )

    def svg(self) -> str:
        return "".join([*self.parts, "</svg>"]) + "\n"


def way() -> str:
    chart = Chart(
        1000,
        490,
        "The way of the data: a generator draws an instance, which samples rows to train, to test and for reference; an estimator is "
        "fitted on the first and encodes the second; an evaluator scores the codes between chance and ceiling; claims judge the scores; "
        "a report shows them. Every stage leaves a record in the store.",
    )
    chart.box(10, 8, 980, 44, "Suite: generators × instances × estimators × fit seeds, each a trial; evaluators; claims")
    for x, y in ((70, 190), (612, 96), (785, 190), (932, 190)):
        chart.arrow((x, 52), (x, y), dashed=True)
    chart.box(10, 190, 120, 56, "Generator", "a specification")
    chart.arrow((130, 218), (215, 218))
    chart.text(171, 208, "draw(seed)", anchor="middle", size=14)
    chart.box(215, 190, 110, 56, "Instance", "has a Truth")
    chart.text(372, 84, "Sample", size=16, bold=True)
    for y, part, use in ((96, "train", "to fit on"), (190, "test", "to score"), (284, "reference", "to calibrate")):
        chart.arrow((325, 218), (372, y + 28))
        chart.box(372, y, 118, 56, part, use)
    chart.arrow((490, 124), (548, 124))
    chart.box(548, 96, 128, 56, "Estimator", "fit, a fit seed", colour=FOUND)
    chart.arrow((612, 152), (612, 190), colour=FOUND)
    chart.arrow((490, 218), (548, 218))
    chart.box(548, 190, 128, 56, "encode", "codes, structure", colour=FOUND)
    chart.arrow((676, 218), (730, 218), colour=FOUND)
    chart.text(701, 208, "codes", anchor="middle", size=14, colour=FOUND)
    chart.arrow((490, 312), (548, 312))
    chart.box(548, 276, 128, 72, "References", "noise, rotations,", "the true codes", colour=TRUE)
    chart.arrow((676, 312), (758, 312), (758, 246), colour=TRUE)
    chart.text(682, 330, "chance, ceiling,", size=14, colour=TRUE)
    chart.text(682, 346, "floors", size=14, colour=TRUE)
    chart.box(730, 190, 110, 56, "Evaluator", "score")
    chart.arrow((270, 246), (270, 380), (816, 380), (816, 246), colour=TRUE, dashed=True)
    chart.arrow((612, 380), (612, 348), colour=TRUE, dashed=True)
    chart.text(282, 372, "graph, atoms, latents: hidden from estimators", size=14, colour=TRUE)
    chart.arrow((840, 218), (872, 218))
    chart.box(872, 190, 120, 88, "Claim", "shown", "not shown", "undecided")
    chart.arrow((932, 278), (932, 314))
    chart.box(872, 314, 120, 56, "Report", "one page")
    chart.box(372, 410, 468, 66, "", dashed=True)
    chart.text(606, 464, "Store: a record per stage, keyed by all that it depends on", anchor="middle", size=14)
    for x, stage in ((431, "sample"), (564, "fit"), (656, "encode"), (785, "score")):
        chart.text(x, 436, stage, anchor="middle", size=16, bold=True)
    for left, right in ((468, 544), (584, 618), (694, 754)):
        chart.arrow((left, 431), (right, 431))
    return chart.svg()


def selection_discrete() -> str:
    chart = Chart(880, 290, "A discrete hierarchy: a composite is a function of the tuple of its constituents, which a potential selects")
    rows = ((40, (250,)), (110, (170, 330)), (180, (130, 210, 290, 370)), (250, (130, 210, 290, 370)))
    names = (("V_0,1",), ("V_1,1", "V_1,2"), ("V_2,1", "V_2,2", "V_2,3", "V_2,4"), ("o_1", "o_2", "o_3", "o_4"))
    for (y, places), row, label in zip(rows, names, ("level 0", "level 1", "level 2", "tokens"), strict=True):
        chart.text(0, y + 5, label)
        for x, name in zip(places, row, strict=True):
            chart.text(x, y + 5, name, anchor="middle", bold=True)
    for (above, tops), (below, bottoms) in pairwise(rows[:3]):
        for number, x in enumerate(bottoms):
            top = tops[number // 2]
            chart.arrow((x, below - 14), (top + (8 if x > top else -8), above + 18))
    for x in rows[2][1]:
        chart.arrow((x, 198), (x, 236))
    for y, note in (
        (40, "φ_S(v_0) gives it the law q"),
        (75, "V = g(t): a table from tuples to states"),
        (110, "φ(t): m admissible tuples per state, its synonyms"),
        (180, "independent before selection, laws μ_2,j"),
        (250, "o_j is V_2,j, or another token with probability ε"),
    ):
        chart.text(450, y + 5, note)
    return chart.svg()


def selection_continuous() -> str:
    chart = Chart(
        880, 220, "A continuous hierarchy: a smooth one-to-one coupling between a tuple and its composite with what it is besides"
    )
    for y, label in ((40, "level 0"), (120, "level 1"), (200, "view")):
        chart.text(0, y + 5, label)
    chart.text(190, 45, "v = g(t)", anchor="middle", bold=True)
    chart.text(310, 45, "e", anchor="middle", bold=True)
    for x, name in ((170, "t_1"), (250, "t_2"), (330, "t_3")):
        chart.text(x, 125, name, anchor="middle", bold=True)
        chart.arrow((x, 136), (x, 182))
    chart.arrow((230, 106), (198, 56))
    chart.arrow((270, 106), (302, 56))
    chart.text(250, 205, "x = f(t) + noise", anchor="middle", bold=True)
    for y, note in (
        (40, "h(v) selects; e is what the tuple is besides v"),
        (80, "T: one to one, smooth"),
        (120, "h_e(e) favours tuples that agree"),
        (160, "leaves are independent before selection"),
    ):
        chart.text(450, y + 5, note)
    return chart.svg()


PICTURES: dict[str, Callable[[], str]] = {
    "way": way,
    "selection-discrete": selection_discrete,
    "selection-continuous": selection_continuous,
    **{name: (lambda name=name: hierarchy(name)) for name in HIERARCHIES},
    "metrics-copies": copies,
    "metrics-sums": sums,
    "metrics-rotations": rotations,
    "metrics-readouts": readouts,
    "metrics-few": few,
    "metrics-halves": halves,
}


def drawn(name: str) -> str:
    """The SVG of a picture, always the same."""
    return PICTURES[name]()


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for picture in PICTURES:
        (IMAGES / f"{picture}.svg").write_text(drawn(picture), encoding="utf-8")
