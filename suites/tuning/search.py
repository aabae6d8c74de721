"""Searches default settings of sparse autoencoders: ``python -m suites.tuning.search --estimator relu_sae --trials 20``.

The score is decoder MCC, mean over three *tuning* instances of different shapes. So settings are chosen with the truth of these instances;
their seeds start at `FIRST_SEED`, and no suite may use them. The same seed gives the same proposals in a search that is not
cut short, and one that was goes on after the trials in its journal under ``runs/tuning/``. What suits the data's size
(k) is searched as a share of the d of each instance and written for d = 64.

==========  ==========================================  ===============================
estimator   setting                                     range
==========  ==========================================  ===============================
all         lr (archetypal: 5e-3 to 1e-1)               1e-3 to 2e-2, logarithmic
penalised   sparsity                                    .01 to 1, logarithmic
with a k    k / d                                       .08 to .4, logarithmic
with a k    k_start (not JumpReLU)                      1 to 2.5
JumpReLU    bandwidth, threshold                        .01 to .2, logarithmic
==========  ==========================================  ===============================
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from testbed.contracts import Instance, InvalidInput, Sample
from testbed.numerics.matching import active, cosine, matched_similarity
from testbed.registry import load, resolve

FIRST_SEED = 900_001
CODES = 256
REFERENCE_DIMENSION = 64
ROWS = 100_000
HELD_OUT = 4_096
INSTANCES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("sparse_concepts", {"levels": [16, 96], "dimension": 64}),
    ("sparse_concepts", {"levels": [6, 18, 84], "dimension": 48, "lone_firing": 0.5}),
    ("synth_sae_bench", {"concepts": 256, "dimension": 64, "roots": 4, "depth": 2}),
)
RATE, PRICE, SHARE = (1e-3, 2e-2, True), (0.01, 1.0, True), (0.08, 0.4, True)
CAP = {"lr": RATE, "k": SHARE, "k_start": (1.0, 2.5, False)}
PAID = {"lr": RATE, "sparsity": PRICE}
WIDTH = (0.01, 0.2, True)
SEARCHED: dict[str, dict[str, tuple[float, float, bool]]] = {
    "relu_sae": PAID,
    "gated_sae": PAID,
    "p_annealing_sae": PAID,
    "jump_relu_sae": {**PAID, "k": SHARE, "bandwidth": WIDTH, "threshold": WIDTH},
    "topk_sae": CAP,
    "batch_topk_sae": CAP,
    "matryoshka_sae": CAP,
    "lista_sae": CAP,
    "pursuit_sae": CAP,
    "archetypal_sae": {**CAP, "lr": (5e-3, 1e-1, True)},
}
"""Per estimator: lowest and highest value, and whether values are drawn on a logarithmic scale."""


def drawn() -> list[tuple[Instance, Sample, Sample]]:
    """The tuning instances, with rows to train and to score on."""
    out = []
    for i, (name, params) in enumerate(INSTANCES):
        instance = load(resolve("generators", name))(**params).draw(FIRST_SEED + i)
        out.append((instance, instance.sample(ROWS, FIRST_SEED + i), instance.sample(HELD_OUT, FIRST_SEED + i, "test")))
    return out


def absolute(settings: dict[str, Any], dimension: int) -> dict[str, Any]:
    """Settings for data of d columns: k is a share of d in the search."""
    return {**settings, "k": max(1, round(settings["k"] * dimension))} if "k" in settings else dict(settings)


def score(name: str, settings: dict[str, Any], data: list[tuple[Instance, Sample, Sample]], extra: dict[str, Any]) -> float:
    """Decoder MCC of an estimator with settings relative to d, mean over the tuning instances."""
    found = []
    for instance, train, test in data:
        assert instance.truth is not None
        atoms = instance.truth.dictionary("mixed")
        estimator = load(resolve("estimators", name))(**{"n_codes": CODES, **extra, **absolute(settings, atoms.shape[1])})
        estimator.fit(train.observed, seed=0)
        similarity = cosine(atoms, estimator.dictionary_) * active(estimator.encode(test.observed))
        found.append(float(matched_similarity(similarity, similarity).mean()))
    return sum(found) / len(found)


def search(name: str, trials: int, seconds: float | None, seed: int, folder: Path, data: list[tuple[Instance, Sample, Sample]]) -> Any:
    """Run or go on with one estimator's study until it has `trials` trials; the first is the class's own defaults."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(folder / f"{name}.journal")))
    ranges = SEARCHED[name]

    def objective(trial: Any) -> float:
        settings = {key: trial.suggest_float(key, low, high, log=log) for key, (low, high, log) in ranges.items()}
        return score(name, settings, data, {"samples": ROWS})

    study = optuna.create_study(
        study_name=name,
        storage=journal,
        direction="maximize",
        load_if_exists=True,
    )
    # TPE does not keep its place: a search that goes on draws from a seed of its own, not from that of its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=5)
    if not study.trials:
        default = load(resolve("estimators", name))().get_params()
        study.enqueue_trial({key: default[key] / REFERENCE_DIMENSION if key == "k" else default[key] for key in ranges})
    done = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
    study.optimize(objective, n_trials=max(0, trials - done), timeout=seconds, show_progress_bar=True)
    return study


def table(name: str, study: Any, command: str, chance: float) -> str:
    """The best settings as a table of a preset, with how they were found."""
    kind = load(resolve("estimators", name))
    best = absolute(study.best_params, REFERENCE_DIMENSION)
    finished = [trial for trial in study.trials if trial.value is not None]
    before = finished[0].value
    lines = [
        f"# {command}",
        f"# {datetime.date.today()}; instances {FIRST_SEED} to {FIRST_SEED + len(INSTANCES) - 1}, {ROWS:,} samples, n_codes {CODES}",
        f"# k for d {REFERENCE_DIMENSION}; MCC {study.best_value:.3f}, before {before:.3f}, chance {chance:.3f}; {len(finished)} trials",
        f"[{kind.__name__}]",
    ]
    lines += [f"{key} = {value if isinstance(value, int) else float(f'{value:.2g}')}" for key, value in best.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Search default settings on tuning instances.")
    parser.add_argument("--estimator", nargs="+", default=list(SEARCHED), help="names to search; all unless given")
    parser.add_argument("--trials", type=int, default=20, help="trials per estimator, those in the journal counted")
    parser.add_argument("--seconds", type=float, default=None, help="start no further trial of an estimator after so long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--journals", type=Path, default=Path("runs/tuning"), help="folder of journals, from which a search goes on")
    parser.add_argument("--out", type=Path, default=Path("runs/tuning/found.toml"), help="TOML file whose tables are written")
    asked = parser.parse_args()
    for name in asked.estimator:
        if name not in SEARCHED:
            raise InvalidInput(f"{name!r} has no ranges to search: choose from {', '.join(SEARCHED)}")
    data = drawn()
    chance = score("random_dictionary", {}, data, {})
    command = f"python -m suites.tuning.search --trials {asked.trials}" + (f" --seconds {asked.seconds:g}" if asked.seconds else "")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    found = []
    for name in asked.estimator:
        study = search(name, asked.trials, asked.seconds, asked.seed, asked.journals, data)
        found.append(table(name, study, f"{command} --estimator {name} --seed {asked.seed}", chance))
        print(found[-1], flush=True)
        asked.out.write_text("\n".join(found), encoding="utf-8")


if __name__ == "__main__":
    main()
