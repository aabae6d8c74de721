"""The page: one file, readable offline."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from testbed.claims import Verdict
from testbed.report import listing
from testbed.report.claims import claims, tally
from testbed.report.codes import readings
from testbed.report.figures import galleries
from testbed.report.graphs import graphs
from testbed.report.provenance import circumstances
from testbed.report.tables import boards, standing
from testbed.report.text import counted, number, plain, script_json, seconds
from testbed.report.trials import trials
from testbed.results import Results, leaderboard
from testbed.store import write_atomic

TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: Path, results: Results, verdicts: Sequence[Verdict]) -> Path:
    """Write ``folder/report.html``: claims, scores, figures, codes, trials, failures and provenance of a run on one page.

    Parameters
    ----------
    folder : path
        The run's folder; its records are read for their provenance only.
    results : Results
    verdicts : sequence of Verdict
        As `testbed.claims.judge` gives them.

    Returns
    -------
    Path
        The page, which needs no other file and no network.
    """
    path = Path(folder) / "report.html"
    write_atomic(path, render(Path(folder), results, verdicts).encode("utf-8", "replace"))
    return path


def render(folder: Path, results: Results, verdicts: Sequence[Verdict]) -> str:
    """The page as text. Everything that comes from records is escaped by the template or by `script_json`."""
    found = standing(results, leaderboard(results))
    drawn = galleries(results, found)
    specs = {figure.id: figure.spec for gallery in drawn for figure in gallery.figures}
    context: dict[str, Any] = {
        "run": results.run,
        "suite": results.run["suite"],
        "title": results.run["suite"]["title"] or results.run["suite"]["name"],
        "facts": _facts(results),
        "components": listing.components(results),
        "claims": claims(verdicts),
        "tally": tally(verdicts),
        "boards": boards(results, found),
        "galleries": drawn,
        "specs": Markup(script_json(specs)),
        "plotly": _plotly() if specs else "",
        "readings": readings(results),
        "graphs": graphs(results),
        "trials": trials(results),
        "absent": listing.absent(results),
        "not_stored": listing.not_stored(results),
        "failures": listing.failures(results),
        "failed": len(results.failures),
        "circumstances": circumstances(folder, results),
        "settings": json.dumps(results.run["suite"], indent=2, ensure_ascii=False),
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "script": script("page.js", "tools.js", "trials.js"),
        "plotly_version": _version("plotly"),
    }
    return environment().get_template("page.html.j2").render(context)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Templates with the filters that they use."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "plain": plain,
        "seconds": seconds,
        "counted": counted,
        "breakable": _breakable,
        "coded": _coded,
    }
    return environment


def script(*names: str) -> Markup:
    """Scripts of the page as one, after what they share."""
    return Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("shared.js", *names)))


def _breakable(name: str) -> Markup:
    """A name that may be broken after its dots, colons and underscores."""
    return Markup("<wbr>").join(Markup(escape(piece)) for piece in re.split("(?<=[._:])", name))


def _coded(text: str) -> Markup:
    """What stands between backticks as code."""
    pieces = [escape(piece) for piece in re.split("`([^`]+)`", text)]
    return Markup("").join(Markup("<code>{}</code>").format(piece) if i % 2 else piece for i, piece in enumerate(pieces))


def _facts(results: Results) -> list[str]:
    run = results.run
    facts = [counted(len(run[kind]), kind.removesuffix("s")) for kind in ("generators", "estimators", "evaluators")]
    done = len(results.fits)
    trials = counted(len(run["trials"]), "trial") if done == len(run["trials"]) else f"{done:,} of {counted(len(run['trials']), 'trial')}"
    facts += [trials, {"cpu": "CPU", "cuda": "CUDA"}.get(run["device"], str(run["device"]))]
    return [*facts, str(run["finished"])[:10]] if run.get("finished") else facts


def _plotly() -> str:
    """plotly.js as it lies in the Python package, found without importing it, compressed and in base64."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        return ""
    script = (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
