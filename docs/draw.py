"""Draw the pictures of the documentation: ``python docs/draw.py`` writes docs/images/*.svg from drawn instances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
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
    "model-continuous": (ContinuousHierarchy(levels=(1, 3, 9)), "A continuous hierarchy of nine leaves in three composites under one"),
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


PICTURES: dict[str, Callable[[], str]] = {
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
