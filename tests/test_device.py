"""Auto takes CUDA only where torch could use it."""

import pytest
import torch

from testbed import device
from testbed.contracts import InvalidInput


def test_auto_agrees_with_torch():
    assert device.choose("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_auto_needs_both_a_driver_and_a_build(monkeypatch):
    for build, devices, wanted in ((True, 1, "cuda"), (True, 0, "cpu"), (False, 1, "cpu")):
        monkeypatch.setattr(device, "_torch_has_cuda", lambda build=build: build)
        monkeypatch.setattr(device, "_devices", lambda devices=devices: devices)
        assert device.choose("auto") == wanted


def test_another_name_is_refused():
    assert device.choose("cpu") == "cpu"
    with pytest.raises(InvalidInput, match="auto, cpu or cuda"):
        device.choose("tpu")
