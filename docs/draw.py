"""Draw the pictures of the documentation: ``python docs/draw.py`` writes docs/images/model-*.svg from drawn instances."""

from __future__ import annotations

from pathlib import Path

from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Generator
from testbed.report.hierarchy import hierarchy_svg

IMAGES = Path(__file__).parent / "images"
INK = "#6f7d99"  # readable on white and on black: an image does not know the page's theme

PICTURES: dict[str, tuple[Generator, str]] = {
    "model-sparse": (SparseConcepts(levels=[3, 10, 36]), "Three levels of sparse concepts; a larger dot fires more often"),
    "model-discrete": (DiscreteHierarchy(depth=3, branching=[2, 3, 2], roots=2), "A discrete hierarchy of four levels and two roots"),
    "model-continuous": (ContinuousHierarchy(levels=(1, 3, 9)), "A continuous hierarchy of nine leaves in three composites under one"),
}


def drawn(name: str) -> str:
    """The SVG of a picture, always the same."""
    generator, title = PICTURES[name]
    truth = generator.draw(0).truth
    assert truth is not None
    return hierarchy_svg(truth, title).replace("<svg ", f'<svg color="{INK}" ', 1) + "\n"


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for picture in PICTURES:
        (IMAGES / f"{picture}.svg").write_text(drawn(picture), encoding="utf-8")
