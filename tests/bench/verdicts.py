"""Judge fresh instances of every cell of hand-made codes: ``python tests/bench/verdicts.py --out results/metrics``.

A cell is a law of the concepts and a kind of codes; its right verdict was written in ``docs/metrics.md`` before the rules. Writes
``verdicts.csv`` (right of how many, with the exact interval), ``path.csv`` (where the verdict turns between perfect codes and a
rotation), ``verdicts.md``, and its claims into ``claims.json``, beside those of the suite.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from evaluators.verdict import COMPONENTS, FACTOR, NOTHING, PART, SUBSPACE, Verdict
from generators.bare_concepts import BareConcepts
from testbed.claims import Verdict as Claimed
from testbed.contracts import Outcome, Scores
from testbed.estimators.baselines.hand_made import HandMade
from testbed.stats import proportion_interval
from testbed.store import write_json

TRAIN, TEST = 4096, 4000
BAR = 0.98
FIRST = 10_000
"""Seed of the first instance: none below was looked at while the rules were written."""

LAWS: dict[str, dict[str, Any]] = {
    "correlation 0": {},
    "correlation 0.5": {"correlation": 0.5},
    "correlation 0.9": {"correlation": 0.9},
    "selection": {"branching": 4},
}


@dataclass(frozen=True)
class Kind:
    """A kind of hand-made codes and what is right for it."""

    name: str
    codes: dict[str, Any]
    verdict: str
    map: str = ""
    recovered: Callable[[HandMade, int], list[int]] | None = None
    world: tuple[tuple[str, int], ...] = ()


def _first(codes: HandMade, c: int) -> list[int]:
    return list(range(codes.matrix_.shape[1]))


def _untouched(codes: HandMade, c: int) -> list[int]:
    """Concepts that are a code by themselves."""
    off = codes.matrix_.abs() > 1e-6
    alone = off.sum(dim=0) == 1
    return sorted(int(off[:, j].nonzero()[0, 0]) for j in alone.nonzero()[:, 0])


KINDS = [
    Kind("perfect", {"kind": "perfect"}, COMPONENTS, "scale"),
    Kind("permuted + scaled", {"kind": "permuted_scaled"}, COMPONENTS, "scale"),
    Kind("monotone warp", {"kind": "monotone_warp"}, COMPONENTS, "monotone"),
    Kind("rotation", {"kind": "rotation"}, SUBSPACE),
    Kind("common-factor copies", {"kind": "common_factor"}, FACTOR),
    Kind("row-permuted", {"kind": "row_permuted"}, NOTHING),
    Kind("noise, m = c", {"kind": "noise"}, NOTHING),
    Kind("noise, m = 64 c", {"kind": "noise", "amount": 64}, NOTHING),
    Kind("64-of-1,024 copy", {"kind": "copy_some"}, PART, "scale", _first, (("concepts", 1024),)),
    Kind("duplicated", {"kind": "duplicated"}, COMPONENTS, "scale"),
    Kind("split", {"kind": "split"}, SUBSPACE),
    Kind("split by another", {"kind": "split_by_other"}, SUBSPACE),
    Kind("merged", {"kind": "merged"}, SUBSPACE),
    Kind("dead-laden", {"kind": "dead_laden"}, COMPONENTS, "scale"),
    # What the rules' author did not use.
    Kind("pairs rotated by 45 degrees", {"kind": "rotated_pairs"}, PART, "scale", _untouched),
    Kind("shear of some", {"kind": "sheared_some"}, PART, "scale", _untouched),
    Kind("shear of all", {"kind": "sheared"}, SUBSPACE),
    Kind("sign-even", {"kind": "sign_even"}, NOTHING),
    Kind("heavy-tailed noise", {"kind": "heavy_noise"}, NOTHING),
    Kind("perfect + heavy-tailed noise", {"kind": "perfect_heavy"}, COMPONENTS, "scale"),
    Kind("path at its begin", {"kind": "path", "amount": 0.0}, COMPONENTS, "scale"),
    Kind("path at its end", {"kind": "path", "amount": 1.0}, SUBSPACE),
]
COSTLY_LAST = sorted(range(len(KINDS)), key=lambda i: bool(KINDS[i].world) or KINDS[i].codes.get("amount", 0) > 1)
PATH = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]


def right_verdict(kind: Kind, law: str) -> str:
    """The verdict of the page: copies have nothing in common to copy where concepts are independent."""
    return SUBSPACE if kind.verdict == FACTOR and law == "correlation 0" else kind.verdict


def outcome_of(law: str, codes: dict[str, Any], seed: int, world: tuple[tuple[str, int], ...] = ()) -> tuple[Outcome, HandMade]:
    """Hand-made codes of a fresh instance."""
    params = {**LAWS[law], **dict(world)}
    if params.get("branching") and params.get("concepts", 0) > 100:
        params["branching"] = 32
    instance = BareConcepts(**params).draw(seed)
    estimator = HandMade(**codes).fit(instance.sample(TRAIN, seed, "train").observed, seed=seed)
    sample = instance.sample(TEST, seed, "test")
    made = estimator.encode(sample.observed)
    outcome = Outcome(
        made, sample, "concepts", estimator.dictionary_, estimator.decode, instance.truth, instance, estimator.encode, "test", seed
    )
    return outcome, estimator


def is_right(kind: Kind, law: str, found: Scores, estimator: HandMade, c: int) -> bool:
    """Verdict, class, and which concepts."""
    wanted = right_verdict(kind, law)
    if found.details["verdict"] != wanted or found.details["class"] != kind.map:
        return False
    return kind.recovered is None or found.details["recovered"] == kind.recovered(estimator, c)


def judged(task: tuple[int, str, int, int]) -> dict[str, Any]:
    """Count right verdicts of a cell."""
    torch.set_num_threads(1)
    number, law, first, instances = task
    kind = KINDS[number]
    said: Counter[str] = Counter()
    right = 0
    for seed in range(first, first + instances):
        outcome, estimator = outcome_of(law, kind.codes, seed, kind.world)
        found = Verdict().score(outcome, seed=seed)
        right += is_right(kind, law, found, estimator, outcome.sample.latents[max(outcome.sample.latents)].shape[1])
        said[" ".join(filter(None, (found.details["verdict"], found.details["class"])))] += 1
    return {
        "codes": kind.name,
        "law": law,
        "right verdict": right_verdict(kind, law),
        "class": kind.map,
        "right": right,
        "n": instances,
    } | {"said": "; ".join(f"{name} {count}" for name, count in said.most_common())}


def turned(task: tuple[str, float, int, int]) -> dict[str, Any]:
    """Verdicts at a point of the path."""
    torch.set_num_threads(1)
    law, amount, first, instances = task
    said: Counter[str] = Counter()
    share = 0.0
    for seed in range(first, first + instances):
        outcome, _ = outcome_of(law, {"kind": "path", "amount": amount}, seed)
        found = Verdict().score(outcome, seed=seed)
        said[found.details["verdict"]] += 1
        share += found.value / instances
    return {
        "law": law,
        "amount": amount,
        "share recovered": share,
        **{name: said[name] for name in (COMPONENTS, PART, SUBSPACE)},
        "n": instances,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/metrics"))
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--path-instances", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="leave out cells that verdicts.csv holds already")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    table = given.out / "verdicts.csv"
    done = pd.read_csv(table, keep_default_na=False).to_dict("records") if given.resume and table.exists() else []
    held = {(row["codes"], row["law"]) for row in done}
    tasks = [(number, law, given.first, given.instances) for number in COSTLY_LAST for law in LAWS]
    tasks = [task for task in tasks if (KINDS[task[0]].name, task[1]) not in held]
    steps = [(law, amount, given.first, given.path_instances) for law in LAWS for amount in PATH]
    with get_context("spawn").Pool(given.jobs) as pool:
        path = pd.DataFrame(pool.map(turned, steps, chunksize=1))
        path.round(4).to_csv(given.out / "path.csv", index=False)
        for row in pool.imap_unordered(judged, tasks):
            done.append(row)
            ordered(done).to_csv(table, index=False)
    cells = ordered(done)
    page = written(cells, path)
    (given.out / "verdicts.md").write_text(page)
    file = given.out / "claims.json"
    others = [claim for claim in json.loads(file.read_text()) if not claim["id"].startswith("fresh-")] if file.exists() else []
    write_json(file, others + claims(cells))
    print(page)


def ordered(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows in the order of `KINDS` and `LAWS`, with exact intervals."""
    names = [kind.name for kind in KINDS]
    rows = sorted(rows, key=lambda row: (names.index(row["codes"]), list(LAWS).index(row["law"])))
    intervals = [proportion_interval(int(row["right"]), int(row["n"])) for row in rows]
    return pd.DataFrame([{**row, "low": round(i.low, 4), "high": round(i.high, 4)} for row, i in zip(rows, intervals, strict=True)])


def claims(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """One claim for each kind of codes, in the law with the fewest right verdicts: its share is above 98 %, by the exact interval."""
    out = []
    for name, rows in cells.groupby("codes", sort=False):
        worst = rows.sort_values("right").iloc[0]
        low, high = float(worst["low"]), float(worst["high"])
        out.append(
            Claimed(
                id=f"fresh-{str(name).replace(' ', '-').replace(',', '').replace('+', 'and')}",
                statement=f"The verdict on {name} is right in more than {BAR:.0%} of fresh instances under every law of the concepts.",
                verdict="shown" if low > BAR else "not shown" if high < BAR else "undecided",
                value=float(worst["right"] / worst["n"]),
                low=low,
                high=high,
                bar=BAR,
                n=int(worst["n"]),
                unit="instance",
                test="above",
                score="verdict",
                estimator=str(name),
                generator=str(worst["law"]),
                versus=str(BAR),
            ).as_json()
        )
    return out


def written(cells: pd.DataFrame, path: pd.DataFrame) -> str:
    """Both tables as Markdown."""
    laws = list(LAWS)
    n = int(cells["n"].iloc[0])
    below = cells[cells["right"] < BAR * cells["n"]]
    lines = [
        "# Verdicts on hand-made codes",
        "",
        f"Right verdicts of {n} fresh instances of each cell (12 concepts, {TEST:,} rows); the right verdict is that of `docs/metrics.md`.",
        "",
        f"| codes | right verdict | {' | '.join(laws)} |",
        f"|---|---|{'---|' * len(laws)}",
    ]
    for name, rows in cells.groupby("codes", sort=False):
        right = rows.set_index("law")
        wanted = list(dict.fromkeys(" ".join(filter(None, pair)) for pair in zip(rows["right verdict"], rows["class"], strict=True)))
        numbers = [f"{right.loc[law, 'right']}" if right.loc[law, "right"] >= BAR * n else f"**{right.loc[law, 'right']}**" for law in laws]
        lines.append(f"| {name} | {' / '.join(wanted)} | {' | '.join(numbers)} |")
    lines += [
        "",
        f"Cells below {round(BAR * n)} of {n}: "
        + (", ".join(f"{r.codes} at {r.law} ({r.said})" for r in below.itertuples()) or "none")
        + ".",
    ]
    lines += [
        "",
        "Where the verdict turns on the geodesic from perfect codes (0) to a random rotation (1): share of concepts recovered, and how",
        f"many of {int(path['n'].iloc[0])} instances are judged *component by component* / *in part* / *subspace*.",
        "",
        f"| amount | {' | '.join(laws)} |",
        f"|---|{'---|' * len(laws)}",
    ]
    for amount, rows in path.groupby("amount", sort=False):
        at = rows.set_index("law")
        numbers = [
            f"{at.loc[law, 'share recovered']:.2f} ({' / '.join(str(at.loc[law, v]) for v in (COMPONENTS, PART, SUBSPACE))})"
            for law in laws
        ]
        lines.append(f"| {amount:g} | {' | '.join(numbers)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
