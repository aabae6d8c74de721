"""An autoencoder trained elsewhere keeps an estimator's contract."""

import pytest
import torch

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput
from testbed.estimators.peers.pretrained import PretrainedSAE
from testbed.estimators.peers.weights import write_weights
from testbed.plan import use_of


def test_its_contract(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    assert [check.problem for check in check_estimator(PretrainedSAE.small()) if check.problem] == []


def test_it_encodes_and_decodes_as_the_weights_say(tmp_path, coder, rows):
    write_weights(coder("jump_relu"), tmp_path / "sae", "saelens")
    fitted = PretrainedSAE(path=tmp_path / "sae").fit(rows, seed=0)
    assert torch.allclose(fitted.encode(rows).dense(), coder("jump_relu").codes(rows), atol=1e-5)
    assert torch.allclose(fitted.decode(fitted.encode(rows)), coder("jump_relu").decode(coder("jump_relu").codes(rows)), atol=1e-4)
    assert torch.equal(fitted.dictionary_, coder("jump_relu").dictionary)


def test_a_second_fit_forgets_the_first(tmp_path, coder, rows):
    write_weights(coder("jump_relu"), tmp_path / "a.safetensors")
    write_weights(coder("topk"), tmp_path / "b.safetensors")
    fitted = PretrainedSAE(path=tmp_path / "a.safetensors").fit(rows, seed=0)
    fitted.set_params(path=tmp_path / "b.safetensors").fit(rows, seed=0)
    assert not hasattr(fitted, "threshold_")
    assert torch.allclose(fitted.encode(rows).dense(), coder("topk").codes(rows), atol=1e-5)


def test_changed_weights_are_another_trial(tmp_path, coder):
    file = tmp_path / "w.safetensors"

    def key():
        return use_of("estimator", "testbed.estimators.peers.pretrained:PretrainedSAE", "sae", {"path": str(file)}).material()

    write_weights(coder("relu"), file)
    before = key()
    assert key() == before
    write_weights(coder("topk"), file)
    assert key() != before


def test_what_is_missing_or_of_another_width_is_said(tmp_path, coder, rows):
    with pytest.raises(InvalidInput, match="set path"):
        PretrainedSAE().fit(rows, seed=0)
    write_weights(coder(), tmp_path / "w.safetensors")
    with pytest.raises(InvalidInput, match="for 5 columns, but the data have 4"):
        PretrainedSAE(path=tmp_path / "w.safetensors").fit(rows[:, :4], seed=0)
    with pytest.raises(InvalidInput, match="is not fitted"):
        PretrainedSAE(path=tmp_path / "w.safetensors").encode(rows)
