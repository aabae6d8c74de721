"""Description length: closed forms, and which of two descriptions is the shorter one."""

import math
from dataclasses import replace

import pytest
import torch

from evaluators.unlabelled.description_length import DescriptionLength
from testbed.contracts import InvalidInput, NotApplicable, View


def score(outcome, **params):
    return DescriptionLength(**params).score(outcome, seed=0)


def described(outcome, codes, rows, constant=0.0):
    return replace(outcome, codes=codes, dictionary=rows, decode=lambda a: a @ rows + constant)


def centred(outcome):
    x = outcome.sample.observed.views["mixed"].values.double()
    return x - x.mean(dim=0), x.mean(dim=0)


def test_the_parts_add_up(perfect):
    found = score(perfect)
    assert found.value == pytest.approx(sum(found.parts[name] for name in ("which", "how_much", "residual", "dictionary")))


def test_no_codes_at_all_cost_what_the_mean_alone_does(perfect):
    _, mean = centred(perfect)
    found = score(described(perfect, torch.zeros(2000, 3, dtype=torch.float64), torch.eye(3, 12, dtype=torch.float64), mean))
    assert found.value == pytest.approx(12 / 2 * math.log(1 + 100))
    assert found.value == pytest.approx(found.parts["mean_alone"])


def test_a_full_rotation_costs_the_rate_of_its_components(perfect):
    x, mean = centred(perfect)
    basis = torch.linalg.svd(x, full_matrices=False)[2]
    variances = torch.linalg.svdvals(x).square() / len(x)
    found = score(described(perfect, x @ basis.T, basis, mean), precision=0.2)
    quantum = 0.04 * variances.sum() / 12
    assert found.parts["how_much"] == pytest.approx(float((variances / quantum).log1p().sum() / 2), rel=1e-6)
    assert found.parts["which"] == pytest.approx(0, abs=1e-9)
    assert found.parts["residual"] == pytest.approx(0, abs=1e-6)
    assert found.parts["dictionary"] == pytest.approx(12 * 15 * math.log(2000) / 4000)


def test_which_is_the_entropy_of_being_on(perfect):
    z = perfect.codes
    rates = (z != 0).double().mean(dim=0)
    entropy = -(rates * rates.log() + (1 - rates) * (1 - rates).log()).sum()
    assert score(perfect).parts["which"] == pytest.approx(float(entropy))


def test_units_of_the_data_do_not_matter(perfect):
    views = {"mixed": View(1000 * perfect.sample.observed.views["mixed"].values)}
    sample = replace(perfect.sample, observed=replace(perfect.sample.observed, views=views))
    large = replace(perfect, sample=sample, codes=1000 * perfect.codes, decode=lambda a: 1000 * perfect.decode(a / 1000))
    assert score(large).value == pytest.approx(score(perfect).value, rel=1e-4)


def test_true_concepts_are_shorter_than_a_rotation_copies_and_parts(perfect):
    length = score(perfect, rows=10**6).value
    x, mean = centred(perfect)
    basis = torch.linalg.svd(x, full_matrices=False)[2]
    assert length < score(described(perfect, x @ basis.T, basis, mean), rows=10**6).value
    z, d = perfect.codes, perfect.dictionary
    odd = (torch.arange(2000) % 2)[:, None]
    split = described(perfect, torch.cat([z * odd, z * (1 - odd)], dim=1), d.repeat(2, 1), 2.0)
    assert length < score(split, rows=10**6).value
    copied = described(perfect, torch.cat([z, z], dim=1) / 2, d.repeat(2, 1), 2.0)
    assert length < score(copied, rows=10**6).value


def test_more_rows_pay_for_the_dictionary_and_dead_codes_are_not_in_it(perfect):
    few, many = score(perfect, rows=1000).parts["dictionary"], score(perfect, rows=10**6).parts["dictionary"]
    assert few == pytest.approx(8 * 15 * math.log(1000) / 2000)
    assert many < few / 400
    dead = described(perfect, torch.cat([perfect.codes, 0 * perfect.codes], dim=1), perfect.dictionary.repeat(2, 1), 2.0)
    assert score(dead).value == pytest.approx(score(perfect).value, rel=1e-6)


def test_what_cannot_be_described_does_not_apply(perfect):
    for without in ({"decode": None}, {"dictionary": None}):
        with pytest.raises(NotApplicable):
            score(replace(perfect, **without))
    still = replace(perfect.sample, observed=replace(perfect.sample.observed, views={"mixed": View(torch.ones(2000, 12))}))
    with pytest.raises(NotApplicable, match="vary"):
        score(replace(perfect, sample=still))
    with pytest.raises(InvalidInput, match="check the decoder"):
        score(replace(perfect, decode=lambda a: torch.zeros(len(a), 3)))
    with pytest.raises(InvalidInput, match="positive"):
        score(perfect, precision=0)
