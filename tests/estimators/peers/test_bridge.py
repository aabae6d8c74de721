"""The bridge to another interpreter: it finds one, feeds it, and says in a sentence why it stopped. No peer is needed here."""

import io
import os
import struct
import sys
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.peers import bridge
from testbed.estimators.peers.bridge import Peer, interpreter
from testbed.estimators.peers.dictionary_learning_sae import DictionaryLearningSAE
from testbed.estimators.peers.overcomplete_sae import OvercompleteSAE
from testbed.estimators.peers.saelens_sae import SAELensSAE
from testbed.estimators.peers.workers.protocol import Batches, History, Unusable, settings_for

NOBODY = Peer("nobodys-package", "nobodys_module", "Nobody")
SPEC = {"kind": "topk", "n_codes": 8, "k": 2, "steps": 10, "batch_size": 100, "seed": 0, "normalise": False, "options": {}}
EVERY = [SAELensSAE, DictionaryLearningSAE, OvercompleteSAE]


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(bridge.VARIABLE, raising=False)


def script(folder, body):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def train(python, batches=None):
    batches = repeat(torch.ones(1000, 40), 20) if batches is None else batches
    return bridge.train(NOBODY, SPEC, iter(batches), lambda folder: pytest.fail("nothing was learned"), python=python)


# ---------------------------------------------------------------------------------------------------------------- interpreters


def test_without_a_peer_the_remedy_is_named():
    with pytest.raises(InvalidInput, match=r"nobodys-package is not installed: `make bench` creates \.venv-peers with it"):
        interpreter(NOBODY)


def test_the_interpreter_is_the_one_asked_for_then_the_variables_then_this_one_then_the_folders(tmp_path, monkeypatch):
    home = tmp_path / ".venv-peers" / "bin"
    home.mkdir(parents=True)
    (home / "python").symlink_to(sys.executable)
    asked, named = tmp_path / "asked", tmp_path / "named"
    for path in (asked, named):
        path.mkdir()
        script(path, "true")
    assert interpreter(NOBODY) == home / "python"
    assert interpreter(Peer("pytest", "pytest", "pytest")) == Path(sys.executable)
    monkeypatch.setenv(bridge.VARIABLE, str(named / "python"))
    assert interpreter(NOBODY) == named / "python"
    assert interpreter(NOBODY, str(asked / "python")) == asked / "python"


def test_a_path_that_is_no_interpreter_is_refused(tmp_path, monkeypatch):
    for wrong in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidInput, match="named by python, is no interpreter"):
            interpreter(NOBODY, str(wrong))
    monkeypatch.setenv(bridge.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(InvalidInput, match=f"named by {bridge.VARIABLE}, is no interpreter"):
        interpreter(NOBODY)


# --------------------------------------------------------------------------------------------------------------------- failures


def test_a_worker_that_dies_is_quoted(tmp_path):
    with pytest.raises(InvalidInput, match=r"running Nobody, ended with exit code 3: out of luck$"):
        train(script(tmp_path, "echo first >&2; echo 'out of luck' >&2; exit 3"))


def test_a_worker_that_is_killed_is_told_apart(tmp_path):
    with pytest.raises(InvalidInput, match=r"running Nobody, was ended by signal 9 and said nothing$"):
        train(script(tmp_path, "kill -9 $$"))


def test_a_worker_that_ends_without_a_result_has_failed(tmp_path):
    with pytest.raises(InvalidInput, match="ended with exit code 0 and said nothing"):
        train(script(tmp_path, "cat >/dev/null"))


def test_bad_data_are_found_before_anything_is_started(tmp_path):
    x = torch.ones(500, 4)
    x[3, 1] = float("nan")
    python = script(tmp_path, f"touch {tmp_path}/started")
    with pytest.raises(InvalidInput, match="row 3, column 1"):
        SAELensSAE(n_codes=8, k=2, samples=400, batch_size=100, python=python).fit(x, seed=0)
    assert not (tmp_path / "started").exists()


def test_when_the_data_end_in_an_error_the_worker_ends_too(tmp_path):
    def batches():
        yield torch.ones(10, 4)
        raise InvalidInput("the stream broke off")

    python = script(tmp_path, f"echo $$ > {tmp_path}/pid; exec cat >/dev/null")
    with pytest.raises(InvalidInput, match="broke off"):
        train(python, batches())
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("cls", EVERY)
def test_an_interpreter_without_the_peer_is_named(cls, python_without):
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    wanted = cls.small().set_params(samples=512, python=python_without(cls.peer))
    with pytest.raises(InvalidInput, match=rf"{cls.peer.package} is not installed for .*python.*: `make bench`"):
        wanted.fit(x, seed=0)


@pytest.fixture
def python_without():
    from importlib.util import find_spec

    def find(peer):
        if find_spec(peer.module) is not None:
            pytest.skip(f"{peer.package} is installed here")
        return sys.executable

    return find


# ------------------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 9}, "k must lie between 1 and n_codes = 8, not be 9"),
        ({"k": 0}, "k must lie between"),
        ({"samples": 99}, "samples must be at least batch_size"),
        ({"batch_size": 0}, "samples must be at least batch_size"),
        ({"lr": 0.0}, "lr must be above 0"),
    ],
)
def test_parameters_out_of_range_are_refused_whether_or_not_there_is_a_peer(cls, change, message):
    with pytest.raises(InvalidInput, match=message):
        cls(**{"n_codes": 8, "k": 2, "samples": 400, "batch_size": 100, **change}).fit(torch.ones(50, 4), seed=0)


@pytest.mark.parametrize(("cls", "name"), list(zip(EVERY, ("architecture", "trainer", "kind"), strict=True)))
def test_kinds_that_a_peer_does_not_have_are_refused(cls, name):
    with pytest.raises(InvalidInput, match=f"has no autoencoder 'magic' here: it is one of {cls.choices[0]}"):
        cls(**{name: "magic"}).fit(torch.ones(50, 4), seed=0)


@pytest.mark.parametrize("trainer", DictionaryLearningSAE.choices)
def test_warm_ups_are_shorter_than_training_as_the_trainers_demand(trainer):
    for steps in [*range(1, 60), 10**4, 10**6]:
        found = DictionaryLearningSAE(trainer)._defaults(steps)
        assert 0 <= found["warmup_steps"] < steps
        assert 0 <= found.get("sparsity_warmup_steps", 0) < steps
        assert found.get("threshold_start_step", 0) < steps - 1 or steps == 1  # at least the last step teaches the threshold
    assert found["warmup_steps"] == 1000


@pytest.mark.parametrize("m", [1, 7, 32, 1000])
def test_widths_of_matryoshka_rise_to_all_codes(m):
    widths = SAELensSAE("matryoshka_batchtopk", n_codes=m, k=1)._defaults(10)["matryoshka_widths"]
    assert widths == sorted(set(widths))
    assert widths[0] >= 1
    assert widths[-1] == m


# --------------------------------------------------------------------------------------------------------------------- protocol


def test_batches_come_through_the_pipe_and_half_a_batch_is_none():
    x = np.arange(12, dtype="<f4").reshape(4, 3)
    message = struct.pack("<q", 4) + x.tobytes()
    found = list(Batches(io.BytesIO(message + message), 3, "cpu"))
    assert [batch.tolist() for batch in found] == [x.tolist(), x.tolist()]
    assert len(list(Batches(io.BytesIO(message + message[:-1]), 3, "cpu"))) == 1
    assert list(Batches(io.BytesIO(b""), 3, "cpu")) == []


def test_history_keeps_a_loss_now_and_then_and_does_not_ask_for_the_others():
    history, asked = History(), []
    for step in range(120):
        history.add(10, lambda step=step: asked.append(step) or float(step))
    assert history.json() == {"samples": [500, 1000], "loss": [49.0, 99.0]}
    assert asked == [49, 99]


def test_options_that_nobody_takes_are_named():
    assert settings_for({"a", "b"}, {"a": 1}, "x") == {"a": 1}
    with pytest.raises(Unusable, match="x takes no option c: it takes a, b"):
        settings_for({"a", "b"}, {"c": 1}, "x")
