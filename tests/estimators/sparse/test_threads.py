"""With several threads, too, a seed gives one result: sums of floating-point numbers must have one order."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.estimators.sparse.jacobian_sae import JacobianSAE
from testbed.estimators.sparse.lista_sae import ListaSAE
from testbed.estimators.sparse.pursuit_sae import PursuitSAE
from testbed.estimators.sparse.transcoder import Transcoder

VIEWS = SparseConcepts(levels=(6, 24), views="per_level", dimension=16)
MODELS = [
    (JacobianSAE(n_codes=64, k=4, samples=4096, batch_size=256, view="level_0", output_view="level_1"), None),
    (Transcoder(n_codes=64, k=4, samples=4096, batch_size=256, view="level_0", input_view="level_1"), None),
    (PursuitSAE(n_codes=64, k=4, samples=4096, batch_size=256), "level_1"),
    (ListaSAE(n_codes=64, samples=4096, batch_size=256), "level_1"),
]


@pytest.mark.parametrize(("model", "view"), MODELS, ids=lambda m: type(m).__name__ if not isinstance(m, str | None) else "")
def test_two_threads_give_the_same_fit_twice(model, view):
    observed = VIEWS.draw(5).sample(4096, 0).observed
    data = observed if view is None else observed.views[view].values
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (model.clone().fit(data, seed=0).dictionary_ for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first, second)
