"""Throughput of the random hierarchy model with 64 tokens, per CPU second of one thread."""

import time

import pytest
import torch

from generators.selection.discrete.random_hierarchy import RandomHierarchy


@pytest.mark.slow
def test_sampling_and_exact_posteriors_keep_their_speed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        instance = RandomHierarchy(v=8, s=2, m=4, L=6, noise=0.05).draw(0)
        instance.posteriors(instance.sample(64, 0).observed)
        start = time.process_time()
        sample = instance.sample(20_480, 1)
        drawn = time.process_time()
        instance.posteriors(sample.observed[:8192])
        explained = time.process_time()
    finally:
        torch.set_num_threads(threads)
    assert 20_480 * 64 / (drawn - start) > 1e6
    assert 8192 * 64 / (explained - drawn) > 1e5
