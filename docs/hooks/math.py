"""Formulas become MathML when the documentation is built: browsers draw it themselves, so no page needs a script from elsewhere."""

import html
import re

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Replace what pymdownx.arithmatex marked as a formula; mkdocs calls this for each page."""
    content = DISPLAY.sub(lambda found: convert(html.unescape(found[1]).strip(), display="block"), content)
    return INLINE.sub(lambda found: convert(html.unescape(found[1]).strip()), content)
