"""A run built by hand that has something of everything the report shows; its labels and texts are hostile where they may be."""

import hashlib
import itertools
import math
import random

import pandas as pd
import pytest

from testbed.claims import Verdict
from testbed.results import COLUMNS, Results

HOSTILE = "<script>alert('x')</script>"
GENERATORS = ("known & true", "language model")
ESTIMATORS = {
    "good": 0.8,
    "middling <b>": 0.5,
    "an_estimator_with_a_rather_long_label_indeed": 0.3,
    "from the truth": 0.6,
    "oracle": 0.97,
}
IDENTIFIED = {"x": ["permutation", "sign", "scale"]}
UNKNOWN = ("no_truth", "decoder_mcc")
EVALUATORS = {"decoder_mcc": "higher", "explained_variance": "higher", "dead_units": "lower", "l0": "none"}


def use(label, **more):
    return {
        "label": label,
        "path": f"package.module:{label.title()}",
        "params": {},
        "from_truth": [],
        "constants": {},
        "inputs": {},
        **more,
    }


def a_run():
    estimators = [use(label, constants={"needs_truth": label == "oracle"}) for label in ESTIMATORS]
    estimators[0]["params"] = {"k": 8, "inner": {"use": "pca", "n": 3}, "text": HOSTILE}
    estimators[3] |= {"params": {"k": {"truth": "l0"}}, "from_truth": ["k"]}
    evaluators = [use(label, constants={"direction": d, "equivalence": "permutation"}) for label, d in EVALUATORS.items()]
    evaluators[0]["constants"] |= {"kinds": ["sparse", "real"], "invariances": ["permutation", "sign", "affine"]}
    evaluators += [use("top_contexts", constants={"direction": "none"}), use("no_truth", constants={"direction": "higher"})]
    labels = [e["label"] for e in evaluators]
    trials = []
    for generator in GENERATORS:
        for instance in range(3):
            for estimator in ESTIMATORS:
                for seed in range(2):
                    name = f"{generator}/{instance}/{estimator}/{seed}"
                    about = {"id": name, "generator": generator, "instance": instance, "estimator": estimator, "fit_seed": seed}
                    keys = {stage: f"{stage} {name}" for stage in ("fit", "encode")}
                    asked = [e for e in labels if e != "no_truth" or generator == GENERATORS[1]]
                    scores = {e: f"{e} {name}" for e in asked}
                    trials.append({**about, "sample": f"{generator}/{instance}", **keys, "scores": scores})
    suite = {
        "name": "hand",
        "title": f"Built by hand {HOSTILE}",
        "description": "Everything that a report shows, once.\n",
        "seed": 7,
        "instances": 3,
        "fit_seeds": 2,
        "threads": 1,
        "dtype": "float32",
        "data": {"train": 50_000, "test": 8192, "reference": 8192},
        "generator": [{"label": g, "name": "g"} for g in GENERATORS],
        "estimator": [{"label": e, "name": "e"} for e in ESTIMATORS],
        "evaluator": [{"label": e, "name": e} for e in labels],
        "claim": [],
    }
    return {
        "schema": 1,
        "suite": suite,
        "device": "cpu",
        "command": f"testbed run hand.toml --set 'title={HOSTILE}'",
        "finished": "2026-11-24T07:41:50+0000",
        "version": "0.1.0",
        "cores": 2,
        "generators": [use(g) for g in GENERATORS],
        "estimators": estimators,
        "evaluators": evaluators,
        "samples": [
            {"generator": g, "instance": i, "sizes": {"train": 5000, "test": 100, "reference": 100}, "sample": f"{g}/{i}"}
            for g in GENERATORS
            for i in range(3)
        ],
        "trials": trials,
        "groups": [],
    }


def some_scores(run):
    rows = []
    for trial in run["trials"]:
        if trial["estimator"] == "middling <b>" and trial["instance"] == 2:
            continue  # failed
        base = ESTIMATORS[trial["estimator"]]
        wobble = 0.03 * math.sin(7 * trial["instance"] + trial["fit_seed"] + 10 * base)
        known = trial["generator"] == GENERATORS[0]
        for evaluator, direction in EVALUATORS.items():
            if evaluator == "decoder_mcc" and not known:
                continue
            value = {
                "decoder_mcc": base + wobble,
                "explained_variance": 1.05 - base / 2 + wobble,
                "dead_units": 0.1 * (1 - base) + abs(wobble),
                "l0": 160 * base,
            }[evaluator]
            levels = {
                "decoder_mcc": (0.2 + 0.1 * (base > 0.5), 0.98),
                "explained_variance": (0.0, 0.9),
                "dead_units": (1.0, 0.0),
            }.get(evaluator, (None, None))
            floors = {"common <factor>": 0.35, "random_rotation": 0.45} if evaluator == "decoder_mcc" else {}
            for part in ("", "level_0", "level_1") if evaluator == "decoder_mcc" else ("",):
                shift = 0.05 * len(part.removeprefix("level_0"))
                about = {k: trial[k] for k in ("generator", "instance", "estimator", "fit_seed")}
                level = {"chance": levels[0], "ceiling": levels[1], "floors": floors, "direction": direction}
                needs = trial["estimator"] == "oracle"
                key = trial["scores"][evaluator]
                rows.append(
                    {**about, "evaluator": evaluator, "part": part, "value": value - shift * 0.1, **level}
                    | {"needs_truth": needs, "trial": trial["id"], "key": key}
                )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("value", "chance", "ceiling"):
        table[name] = table[name].astype(float)
    return table


def some_codes():
    tokens = ["The", " judge", " finds", " the", " court", HOSTILE, ".", "\n", "\n\n", "  ", "    return", "\t", " x", "é", "日本", "<b>"]
    contexts = [
        {
            "tokens": tokens,
            "at": 4,
            "activations": [0.0, 1.5, 0.0, 0.0, 4.0, 2.0, 0.0, 3.0, 0.0, 1.0, *[0.0] * 4, None, None],
            "value": 4.0,
        },
        {"tokens": tokens[:6], "at": 1, "activations": None, "value": 3.5},
    ]
    return [{"code": j, "density": 0.01 * (j + 1), "max": 4.0, "contexts": contexts} for j in range(5)]


@pytest.fixture
def hand():
    """Results with every kind of entry."""
    run = a_run()
    steps = list(range(1000, 41_000, 1000))
    fits = []
    for trial in run["trials"]:
        about = {k: trial[k] for k in ("id", "generator", "instance", "estimator", "fit_seed")}
        rate = 1 + ESTIMATORS[trial["estimator"]] + 0.05 * trial["instance"]
        history = {
            "samples": steps,
            "loss": [1 / (rate * s / 4000 + 1) for s in steps],
            "explained_variance": [1 - rate / s for s in steps],
        }
        named = trial["estimator"] in ("good", "from the truth")
        state = {"state": None, "reason": f"a tree {HOSTILE}"} if trial["estimator"] == "oracle" else {"state": "stored"}
        params = {"k": 8 if trial["estimator"] == "good" else 12, "lr": 0.01, "view": None}
        seconds = 0.2 + 3 * ESTIMATORS[trial["estimator"]] ** 3
        needs = trial["estimator"] == "oracle"
        fits.append({**about, "seconds": seconds, "params": params, "history": history if named else {}, "needs_truth": needs, **state})
    details = [
        {"generator": GENERATORS[1], "instance": 0, "estimator": e, "fit_seed": s, "evaluator": "top_contexts", "details": details}
        for e in ("good", "middling <b>")
        for s in range(2)
        for details in [{"codes": some_codes() if (e, s) != ("middling <b>", 1) else [], "densest": 0.3, "rows": 100}]
    ]
    details.append({**details[0], "evaluator": "l0", "details": {"rows": 3}})
    read = {(d["generator"], d["instance"], d["estimator"]) for d in details}
    skipped = [
        {**about, "evaluator": e, "reason": reason}
        for about in ({k: t[k] for k in ("generator", "instance", "estimator", "fit_seed")} for t in run["trials"])
        for known, e, reason in (
            *((about["generator"] == GENERATORS[0], e, "nobody knows the truth of these data") for e in UNKNOWN),
            ((about["generator"], about["instance"], about["estimator"]) in read, "top_contexts", f"no text {HOSTILE}"),
        )
        if not known
    ]
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\n' + "    deep\n" * 2000 + f"ValueError: {HOSTILE}"
    failures = [
        {"trial": t["id"], "stage": "fit", "key": t["fit"], "error": f"ValueError: {HOSTILE}", "traceback": trace, "attempts": 2}
        for t in run["trials"]
        if t["estimator"] == "middling <b>" and t["instance"] == 2
    ]
    samples = [
        {"generator": s["generator"], "instance": s["instance"], "seconds": 0.4, "rows": {}, "views": {"x": {"columns": 8}}}
        | {"truth": {"levels": [["sparse", 16], ["sparse", 96]], "settings": {}, "identified": IDENTIFIED}, "about": {}}
        for s in run["samples"]
    ]
    samples[3] |= {
        "truth": None,
        "about": {
            "fingerprint": "0123456789abcdef" * 4,
            "model": "smollm2",
            "note": f"Q4_1 weights, dequantised {HOSTILE}",
            "revision": None,
        }
        | {"documents": {"train": 5, "test": 2}},
    }
    return Results(run, some_scores(run), details, [], fits, skipped, failures, samples)


@pytest.fixture
def empty(hand):
    """The same run before anything was computed."""
    return Results(hand.run, pd.DataFrame(columns=list(COLUMNS)), [], [], [], [], [], [])


@pytest.fixture(scope="session")
def crowd():
    """Results of so many trials: 5 generators, 20 estimators, 5 evaluators, two fit seeds, and as many instances as it takes."""

    def make(n):
        run = a_run()
        generators, labels = [f"generator {g}" for g in range(5)], [f"estimator_{e:02d}" for e in range(20)]
        evaluators = {
            "decoder_mcc": "higher",
            "activation_mcc": "higher",
            "explained_variance": "higher",
            "dead_units": "lower",
            "l0": "none",
        }
        trials, samples, fits, rows = [], [], [], []
        draw = random.Random(n).random
        for g, instance in itertools.product(generators, range(n // 200)):
            samples.append(
                {"generator": g, "instance": instance, "sizes": {"train": 5000, "test": 100, "reference": 100}, "sample": f"{g}/{instance}"}
            )
            for (place, e), seed in itertools.product(enumerate(labels), range(2)):
                about = {"generator": g, "instance": instance, "estimator": e, "fit_seed": seed}
                name = f"{g}/{instance}/{e}/{seed}"
                keys = {stage: hashlib.sha256(f"{stage} {name}".encode()).hexdigest() for stage in ("fit", "encode")}
                trials.append({"id": name, **about, "sample": f"{g}/{instance}", **keys, "scores": {v: f"{v} {name}" for v in evaluators}})
                fits.append(
                    {"id": name, **about, "seconds": 5 * draw(), "params": {"k": 8, "lr": 0.01, "width": 2 * place}, "history": {}}
                    | {"needs_truth": False, "state": "stored"}
                )
                for evaluator, direction in evaluators.items():
                    levels = (
                        {"chance": 0.2 + 0.01 * draw(), "ceiling": 0.9 + 0.1 * draw()}
                        if direction != "none"
                        else {"chance": None, "ceiling": None}
                    )
                    if direction == "lower":
                        levels = {"chance": levels["ceiling"], "ceiling": levels["chance"]}
                    floors = {"random_rotation": 0.3 + 0.1 * draw()} if evaluator == "decoder_mcc" else {}
                    more = {"direction": direction, "needs_truth": False, "trial": name, "key": f"{evaluator} {name}"}
                    rows.append(
                        {
                            **about,
                            "evaluator": evaluator,
                            "part": "",
                            "value": 0.3 + 0.03 * place + 0.1 * draw(),
                            **levels,
                            "floors": floors,
                            **more,
                        }
                    )
        run |= {"generators": [use(g) for g in generators], "estimators": [use(e) for e in labels], "samples": samples, "trials": trials}
        run["evaluators"] = [use(v, constants={"direction": d, "equivalence": "permutation"}) for v, d in evaluators.items()]
        suite = {"instances": n // 200, "generator": [{"label": g, "name": "g"} for g in generators]}
        suite |= {kind: [{"label": u["label"], "name": u["label"]} for u in run[f"{kind}s"]] for kind in ("estimator", "evaluator")}
        run["suite"] = run["suite"] | suite
        table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(("value", "chance", "ceiling"), float))
        about = [
            {"generator": s["generator"], "instance": s["instance"], "seconds": 0.1, "views": {}, "rows": {}, "truth": None, "about": {}}
            for s in samples
        ]
        return Results(run, table, [], [], fits, [], [], about)

    return make


@pytest.fixture
def verdicts():
    """One of each kind, and one claim on two generators."""
    shared = {"test": "above", "score": "decoder_mcc", "estimator": "good", "n": 3, "unit": "instance"}

    def verdict(name, outcome, value, low, high, bar, **more):
        given = {"statement": f"Statement of {name} {HOSTILE}", "generator": GENERATORS[0], "versus": "chance", **shared, **more}
        return Verdict(id=name, verdict=outcome, value=value, low=low, high=high, bar=bar, **given)

    two = [
        verdict(f"on-both @ {g}", o, v, v - 0.02, v + 0.02, 0.1, statement="On both generators.", generator=g, versus="oracle")
        for g, o, v in zip(GENERATORS, ("shown", "not shown"), (0.3, 0.05), strict=True)
    ]
    return [
        verdict("holds", "shown", 0.5, 0.45, 0.55, 0.9, test="below", versus="0.9"),
        verdict("fails", "not shown", -0.2, -0.25, -0.15, 0.02, test="within", versus="ceiling"),
        *two,
        verdict("open", "undecided", 0.1, -0.2, 0.4, 0.0, unit="document"),
        verdict("one-value", "undecided", 0.1, None, None, 0.0, note="one value has no interval"),
        verdict("nothing", "undecided", None, None, None, 0.5, note=f"there is no score {HOSTILE}"),
    ]
