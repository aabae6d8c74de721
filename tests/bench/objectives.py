"""Each estimator's objective at the truth and at what it found: ``python tests/bench/objectives.py --out results/sparse``.

On the instances of the suite `sparse`, with its settings but for `--samples`. Sparse autoencoders are trained three times on the same
batches: with the true atoms held and nothing else to write with, from the true atoms (the rest of the dictionary starts as ever), and
from their own start. Of other estimators the objective is evaluated at the true atoms and at theirs. Losses are on held-out rows. Writes
``objectives.csv`` (a row per instance) and ``objectives.md``.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from evaluators.dictionary.decoder_mcc import DecoderMCC
from testbed.contracts import Estimator, Instance, Outcome, Sample
from testbed.estimators.classical.dictionary_learning import DictionaryLearning
from testbed.estimators.classical.ksvd import KSVD
from testbed.estimators.sparse.archetypal_sae import ArchetypalSAE
from testbed.estimators.sparse.autoencoder import SparseAutoencoder
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.estimators.sparse.objective import objective_at, objective_found
from testbed.estimators.sparse.refinement import lasso_objective
from testbed.numerics.decoding import linear_decode
from testbed.numerics.matching import dense
from testbed.numerics.pursuit import orthogonal_matching_pursuit
from testbed.numerics.regression import nonnegative_lasso
from testbed.plan import Sampling, enumerate_trials
from testbed.registry import load
from testbed.stages import construct, instance_of
from testbed.stats import mean_interval
from testbed.suite import read

KINDS = (SparseAutoencoder, MinimalDictionary, DictionaryLearning, KSVD)
WHOLE, MARGIN = 0.95, 0.02
"""A decoder MCC from which nothing is missed, and what counts as a difference, of an MCC or, as a share, of a loss."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/sparse"))
    parser.add_argument("--worlds", nargs="*", default=["two levels", "exclusive"])
    parser.add_argument("--samples", type=int, default=100_000, help="budget of autoencoders, in place of the suite's")
    parser.add_argument("--only", nargs="*", help="estimators to measure; the others' rows are kept as they are")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table = measured(given.worlds, given.samples, given.only)
    kept = given.out / "objectives.csv"
    if given.only and kept.exists():
        table = with_rows_of(pd.read_csv(kept), table)
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(5).to_csv(given.out / "objectives.csv", index=False)
    page = written(table)
    (given.out / "objectives.md").write_text(page)
    print(page)


def with_rows_of(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """An older table with newer rows in place of its own of the same estimators."""
    both = pd.concat([old[~old["estimator"].isin(new["estimator"])], new])
    places = {name: i for column in ("world", "estimator") for i, name in enumerate(dict.fromkeys([*old[column], *new[column]]))}
    return both.sort_values(["world", "estimator", "instance"], key=lambda column: column.map(places).fillna(column), kind="stable")


def measured(worlds: list[str], samples: int, only: list[str] | None = None) -> pd.DataFrame:
    """One row per world, instance and estimator."""
    plan = enumerate_trials(read(Path("suites/sparse.toml")))
    rows: list[dict[str, Any]] = []
    for trial in plan.trials:
        kind = load(trial.estimator.path)
        if only and trial.estimator.label not in only:
            continue
        if trial.sampling.generator.label not in worlds or not issubclass(kind, KINDS) or trial.estimator.params.get("inference"):
            continue
        params = dict(trial.estimator.params)
        if issubclass(kind, SparseAutoencoder | MinimalDictionary):
            params["samples"] = min(samples, int(params["samples"]))
        instance, train, test = rows_of(trial.sampling)
        model: Estimator = construct("estimator", trial.estimator.path, params)
        about = {"world": trial.sampling.generator.label, "instance": trial.sampling.instance, "estimator": trial.estimator.label}
        rows.append({**about, **objectives(model, instance, train, test, trial.fit_seed)})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def rows_of(sampling: Sampling) -> tuple[Instance, Sample, Sample]:
    instance = instance_of(sampling, "cpu")
    train, test = (instance.sample(sampling.sizes[part], sampling.rows_seed, part) for part in ("train", "test"))
    return instance, train, test


def objectives(model: Estimator, instance: Instance, train: Sample, test: Sample, seed: int) -> dict[str, float]:
    """Objective with the true atoms, from them, and as found; decoder MCC of the last two."""
    truth = instance.truth
    assert truth is not None
    atoms = normalize(truth.dictionary("mixed"), dim=1)

    def mcc(fitted: Estimator) -> float:
        outcome = Outcome(fitted.encode(test.observed), test, "mixed", dictionary=fitted.dictionary_, truth=truth, instance=instance)  # type: ignore[attr-defined]
        return DecoderMCC().score(outcome, seed=0).value

    out = dict.fromkeys(("at truth", "from truth", "found", "mcc from truth", "mcc found"), math.nan)
    if isinstance(model, SparseAutoencoder):
        found = objective_found(model, train.observed, seed=seed)
        out |= {"found": found.loss, "mcc found": mcc(found.model)}
        if not isinstance(model, ArchetypalSAE):  # its atoms are mixtures of rows: the truth cannot be given
            started = objective_at(model, train.observed, atoms, seed=seed)
            held = objective_at(model, train.observed, atoms, seed=seed, hold=True).loss
            out |= {"at truth": held, "from truth": started.loss, "mcc from truth": mcc(started.model)}
        return out
    model.fit(train.observed, seed=seed)
    x = dense(test.observed.views["mixed"].values) - model.bias_  # type: ignore[attr-defined]
    at, found_loss = (classical(model, x, d) for d in (atoms, model.dictionary_))  # type: ignore[attr-defined]
    out |= {"at truth": at, "found": found_loss, "mcc found": mcc(model)}
    if isinstance(model, MinimalDictionary):
        started = model.clone().fit_from(train.observed, atoms, seed=seed)
        loss = lasso_objective(test.observed.views["mixed"].values - started.bias_, started.dictionary_, model.penalty_)
        out |= {"from truth": loss, "mcc from truth": mcc(started)}
    return out


def classical(model: Estimator, x: Tensor, atoms: Tensor) -> float:
    """Lasso's objective or pursuit's error of centred rows in a dictionary."""
    if isinstance(model, DictionaryLearning):
        codes = nonnegative_lasso(x, atoms, penalty=model.penalty_)
        error = (x - linear_decode(codes, atoms)).square().sum() / 2 + model.penalty_ * codes.values.sum()
        return float(error / x.square().sum())
    if isinstance(model, KSVD):
        codes = orthogonal_matching_pursuit(x, atoms, max_active=model.k, threshold=0.0)
        return float((x - linear_decode(codes, atoms)).square().sum() / x.square().sum())
    assert isinstance(model, MinimalDictionary)
    return lasso_objective(x, atoms, model.penalty_)


def diagnosis(rows: pd.DataFrame) -> str:
    """What the numbers of one estimator on one world say of a miss, by the 95 % interval over instances."""
    if rows["mcc found"].mean() >= WHOLE:
        return "no miss"
    if "frozen" in rows["estimator"].iloc[0]:
        return "by design: not all of it is trained"
    if rows["at truth"].isna().any():
        return "the truth is outside the model"
    if rows["from truth"].isna().any():
        # Found with more atoms than the truth has: a lower objective says that spare atoms pay, and no more.
        lower = mean_interval((rows["found"] / rows["at truth"] - 1).tolist()).high < 0
        return "objective: with its own number of atoms it falls below the truth's" if lower else "undecided"
    excess = mean_interval((rows["found"] / rows["from truth"] - 1).tolist())
    if excess.low > 0 and excess.mean > MARGIN:
        return "optimisation: a better dictionary, nearer the truth, was not found"
    if rows["from truth"].mean() > (1 + MARGIN) * rows["found"].mean():
        return "optimisation: even from the truth training ends at a worse loss"
    if abs(excess.mean) > MARGIN:
        return "undecided"
    nearer = rows["mcc from truth"].mean() > rows["mcc found"].mean() + MARGIN
    return "not identified: level with a dictionary nearer the truth" if nearer else "objective: training leaves the truth"


def written(table: pd.DataFrame) -> str:
    lines = []
    for world, here in table.groupby("world", sort=False):
        lines += [
            f"## {world}",
            "",
            "| | at truth | from truth | found | MCC from truth | MCC found | a miss is |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, rows in here.groupby("estimator", sort=False):
            mean = rows[["at truth", "from truth", "found", "mcc from truth", "mcc found"]].mean()
            cells = ["" if math.isnan(v) else f"{v:.3f}" for v in mean]
            lines.append(f"| `{name}` | {' | '.join(cells)} | {diagnosis(rows)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
