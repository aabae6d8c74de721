"""Latent classes: EM climbs, recovers what it was drawn from, and agrees with a direct computation; deviances have known means."""

import numpy as np
import pytest

from testbed.numerics.latent_classes import LatentClasses, fitted, mean_deviance, started, tuple_classes


def drawn(seed, k=3, shape=(4, 3), x=5):
    """A model as a batch of one, and its law as an array (t_1, t_2, x)."""
    rng = np.random.default_rng(seed)
    pi = rng.dirichlet(np.full(k, 5.0))[None]
    theta = [rng.dirichlet(np.full(s, 0.5), size=k).T[None] for s in shape]
    phi = rng.dirichlet(np.full(x, 0.5), size=k)[None]
    return LatentClasses(pi, theta, phi, np.zeros(1), np.ones(1, bool))


def random_start(table, k, seed, runs=1):
    share = np.random.default_rng(seed).dirichlet(np.ones(k), size=(runs, int(np.prod(table.shape[1:-1])), 1))
    return started(share, table)


def test_the_law_is_the_sum_over_classes():
    model = drawn(0)
    direct = np.einsum("k,ak,bk,kx->abx", model.classes[0], model.tuples[0][0], model.tuples[1][0], model.contexts[0])
    assert np.allclose(model.law()[0], direct.reshape(12, 5))
    assert np.allclose(tuple_classes(model)[0].sum(axis=1), direct.sum(axis=2).ravel())


def test_em_never_becomes_less_likely_and_stays_at_the_truth():
    table = np.random.default_rng(1).multinomial(5000, drawn(1).law().ravel()).reshape(1, 4, 3, 5).astype(float)
    found = [fitted(table, random_start(table, 3, 2), rounds=r, tolerance=0.0).log_likelihood[0] for r in (1, 2, 5, 20, 100)]
    assert (np.diff(found) > 0).all()
    exact = 1e6 * drawn(1).law().reshape(1, 4, 3, 5)
    assert np.allclose(fitted(exact, drawn(1), rounds=20).law(), drawn(1).law(), atol=1e-9)


def test_a_round_is_that_of_em_written_out():
    table = np.random.default_rng(3).poisson(20.0, size=(1, 2, 3, 4)).astype(float)
    start = random_start(table, 2, 4)
    pi, (a, b), phi = start.classes[0], (t[0] for t in start.tuples), start.contexts[0]
    joint = np.einsum("k,ik,jk,kx->ijxk", pi, a, b, phi)
    counts = table[0][..., None] * joint / joint.sum(axis=-1, keepdims=True)
    found = fitted(table, start, rounds=1)
    assert np.allclose(found.classes[0], counts.sum(axis=(0, 1, 2)) / table.sum())
    assert np.allclose(found.tuples[0][0], counts.sum(axis=(1, 2)) / counts.sum(axis=(0, 1, 2)))
    assert np.allclose(found.contexts[0], (counts.sum(axis=(0, 1)) / counts.sum(axis=(0, 1, 2))).T)


def test_fits_of_a_batch_do_not_touch_each_other():
    tables = np.random.default_rng(5).poisson(20.0, size=(2, 4, 3, 5)).astype(float)
    start = random_start(tables[:1], 3, 6)
    both = fitted(np.tile(tables[:1], (2, 1, 1, 1)), start[np.array([0, 0])], rounds=30, tolerance=0.0)
    one = fitted(tables[:1], start, rounds=30, tolerance=0.0)
    assert np.allclose(both.law(), np.tile(one.law(), (2, 1, 1)))


def test_a_table_of_the_model_is_recovered_up_to_the_names_of_classes():
    model = drawn(7)
    table = 1e6 * model.law().reshape(1, 4, 3, 5)
    runs = fitted(np.tile(table, (8, 1, 1, 1)), random_start(np.tile(table, (8, 1, 1, 1)), 3, 8, runs=8), rounds=3000, tolerance=1e-12)
    best = runs[np.array([runs.log_likelihood.argmax()])]
    order = [int(np.abs(best.contexts[0] - row).sum(axis=1).argmin()) for row in model.contexts[0]]
    assert sorted(order) == [0, 1, 2]
    assert np.allclose(best.classes[0][order], model.classes[0], atol=1e-2)
    assert np.allclose(best.tuples[0][0][:, order], model.tuples[0][0], atol=1e-2)


@pytest.mark.parametrize("e", [0.01, 0.7, 5.0, 39.0, 41.0, 300.0])
def test_mean_deviance_of_a_poisson_count(e):
    o = np.random.default_rng(9).poisson(e, size=2_000_000).astype(float)
    deviance = 2 * (o * np.log(np.where(o > 0, o, 1) / e) - (o - e))
    assert abs(deviance.mean() - mean_deviance(np.array([e]))[0]) < 5 * deviance.std() / 2_000_000**0.5 + 2e-4


def test_mean_deviance_ends_where_it_must():
    assert mean_deviance(np.array([0.0]))[0] == 0
    assert abs(mean_deviance(np.array([1e6]))[0] - 1) < 1e-6
