"""Every objective trains and encodes on CUDA, and stays there."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.registry import BUILT_IN, load

PATHS = [
    path
    for path in BUILT_IN["estimators"].values()
    if path.startswith(("testbed.estimators.sparse", "testbed.estimators.baselines.frozen"))
]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.partition(":")[2])
def test_fits_and_encodes_there(path):
    model = load(path).small()
    several = any(name != "view" and name.endswith(("view", "views")) for name in model.parameter_names())
    rows = (
        SparseConcepts(levels=(3, 12), dimension=16, views="per_level" if several else "mixed").draw(1).sample(6000, 0).observed.to("cuda")
    )
    model.fit(rows, seed=0)
    codes = model.encode(rows)
    assert codes.values.device.type == "cuda"
    decoded = model.decode(codes)
    assert decoded.device.type == "cuda"
    assert decoded.isfinite().all()
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    for value in model.get_state()[0].values():
        assert value.device.type == "cuda"
