"""Small coders and rows that the tests of this folder share, and where the peers are."""

import subprocess

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.peers.bridge import interpreter
from testbed.estimators.sparse.coder import SparseCoder

M, D = 12, 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 17 * len(shape)))


def make_coder(activation="relu", **settings):
    given = {
        "topk": {"k": 3},
        "pursuit": {"k": 3},
        "jump_relu": {"threshold": draw(M, seed=5).abs()},
        "gated": {"gain": draw(M, seed=6).exp(), "magnitude_bias": draw(M, seed=7)},
    }.get(activation, {})
    return SparseCoder(draw(M, D), draw(M), draw(M, D, seed=3), draw(D, seed=4), activation, **{**given, **settings})


@pytest.fixture
def coder():
    return make_coder


@pytest.fixture(scope="session")
def rows():
    return 2 * draw(300, D, seed=9)


@pytest.fixture(scope="session")
def python_of():
    """The interpreter that has a peer, or a skip that says there is none."""

    def find(peer):
        try:
            python = interpreter(peer)
        except InvalidInput as error:
            pytest.skip(str(error))
        code = f"import sys, importlib.util as u; sys.exit(u.find_spec({peer.module!r}) is None)"
        if subprocess.run([python, "-I", "-c", code], check=False).returncode != 0:
            pytest.skip(f"{peer.package} is not installed for {python}")
        return python

    return find
