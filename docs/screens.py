"""Take the screens of the documentation from reports: ``python docs/screens.py runs/quick runs/hierarchy/concepts``.

The first folder's report gives claims, scores and figures, the second one's the graphs. Needs chromium and the extra ``dev``.
"""

from __future__ import annotations

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import FloatRect, Page, ViewportSize, sync_playwright

IMAGES = Path(__file__).parent / "images"
COLOURS, ABOVE, BELOW = 96, 20, 12


@dataclass(frozen=True)
class Screen:
    """Parts of a report below each other: each from the top of one element to the bottom of another."""

    report: int
    parts: tuple[tuple[str, str], ...]
    width: int = 1180
    most: int = 1400
    scale: int = 1
    scheme: Literal["light", "dark"] = "light"
    place: str = ""


SCREENS = {
    "report": Screen(0, (("#claims h2", "#claims .claim >> nth=2"), ("#scores h3 >> nth=0", "#scores table >> nth=0"))),
    "report-figures": Screen(0, (("#figures h2", "#figures figure >> nth=1"),), scheme="dark"),
    "report-graphs": Screen(1, (("#graphs h2", "#graphs .panel >> nth=0"),)),
    "report-trial": Screen(0, (("#trial", "#trial"),), most=890, place="#trial=two levels/0/topk_sae/0"),
    "report-phone": Screen(0, (("#scores h2", "#scores table >> nth=0"),), width=390, most=844, scale=2),
}


def taken(page: Page, screen: Screen) -> bytes:
    """PNG of parts of an open report, in few colours."""
    pieces = []
    for first, last in screen.parts:
        top, bottom = (page.locator(name).first.bounding_box() for name in (first, last))
        if top is None or bottom is None:
            raise SystemExit(f"this report has no {first} or no {last}: give another run")
        height = min(screen.most, bottom["y"] + bottom["height"] - top["y"] + ABOVE + BELOW)
        clip: FloatRect = {"x": 0, "y": max(0, top["y"] - ABOVE), "width": screen.width, "height": height}
        pieces.append(Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB"))
    whole = Image.new("RGB", (pieces[0].width, sum(piece.height for piece in pieces)))
    for number, piece in enumerate(pieces):
        whole.paste(piece, (0, sum(above.height for above in pieces[:number])))
    out = io.BytesIO()
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main(folders: list[str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        for name, screen in SCREENS.items():
            size: ViewportSize = {"width": screen.width, "height": 900}
            page = browser.new_page(viewport=size, device_scale_factor=screen.scale, color_scheme=screen.scheme)
            page.goto((Path(folders[screen.report]) / "report.html").absolute().as_uri() + screen.place)
            page.wait_for_selector("html[data-figures]", state="attached", timeout=60_000)
            (IMAGES / f"{name}.png").write_bytes(taken(page, screen))
            page.close()
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
