"""The page of a folder of suites that were run together: all their claims, and where the page of each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from testbed.claims import Verdict
from testbed.report.claims import Claim, claims, tally
from testbed.report.page import TEMPLATES, environment, script
from testbed.store import write_atomic


@dataclass(frozen=True)
class Part:
    """One suite: its name, what it says of itself, its verdicts, and its page, relative to the folder."""

    name: str
    title: str
    description: str
    link: str
    claims: tuple[Claim, ...]
    tally: tuple[tuple[str, str, int], ...]


def write_overview(folder: Path, runs: Sequence[tuple[Mapping[str, Any], Sequence[Verdict]]]) -> Path:
    """Write ``folder/report.html``: the claims of several suites on one page, with links to the page of each.

    Parameters
    ----------
    folder : path
        In which each suite has a folder of its name.
    runs : sequence of (mapping, sequence of Verdict)
        Of each suite what it says of itself, as ``run.json`` has it, and its verdicts.

    Returns
    -------
    Path
    """
    parts = [
        Part(
            suite["name"],
            suite["title"] or suite["name"],
            suite["description"].strip(),
            f"{suite['name']}/report.html",
            tuple(claims(verdicts)),
            tuple(tally(verdicts)),
        )
        for suite, verdicts in runs
    ]
    page = (
        environment()
        .get_template("overview.html.j2")
        .render(
            title=folder.name.replace("_", " ").capitalize(),
            parts=parts,
            tally=tally([verdict for _, verdicts in runs for verdict in verdicts]),
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=script("page.js"),
        )
    )
    path = folder / "report.html"
    write_atomic(path, page.encode("utf-8", "replace"))
    return path
