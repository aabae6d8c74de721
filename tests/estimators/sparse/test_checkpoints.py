"""Training that was interrupted and goes on is, to the bit, training that was not; what cannot be gone on with is refused."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from threadpoolctl import threadpool_limits

from testbed.contracts import InvalidInput, UnusableCheckpoint, is_resumable
from testbed.estimators.classical.pca import PCA
from testbed.estimators.sparse import checkpoints, training
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.gated_sae import GatedSAE
from testbed.estimators.sparse.jump_relu_sae import JumpReLUSAE
from testbed.estimators.sparse.steps import CompiledStepper, Stepper, TorchStepper, stepper_for
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.training import fit_together
from testbed.numerics import shuffling

STEPS = 120
SHARED = {"n_codes": 24, "batch_size": 32, "samples": 32 * STEPS, "held_out": 50}
MODELS = {
    "compiled": TopKSAE(k=3, **SHARED),
    "compiled with a threshold": BatchTopKSAE(k=3, bias="learned", **SHARED),
    "compiled with thresholds": JumpReLUSAE(k=3, **SHARED),
    "torch": TopKSAE(k=3, encoder_depth=2, **SHARED),
    "torch, no k": GatedSAE(**SHARED),
}


class Stop(Exception):
    """Raised where training is to end early."""


@pytest.fixture(autouse=True)
def _small_and_often(monkeypatch):
    """One thread, a short look ahead, a small buffer, and a checkpoint after every step."""
    monkeypatch.setattr(training, "HEAD_ROWS", 400)
    monkeypatch.setattr(shuffling, "BUFFER", 300)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def data(seed=0):
    g = torch.Generator().manual_seed(seed)
    atoms = torch.randn(20, 8, generator=g)
    return ((torch.rand(1000, 20, generator=g) < 0.1) * torch.rand(1000, 20, generator=g)) @ atoms


class Stream:
    """Chunks of the data that can be read again; from the `stop`-th chunk on it fails, once."""

    def __init__(self, stop=None):
        self.stop, self.read = stop, 0

    def __iter__(self):
        for chunk in torch.split(data(), 70):
            self.read += 1
            if self.read == self.stop:
                raise Stop
            yield chunk


def stop_at(monkeypatch, kind, step):
    """Let a kind of stepper fail at its step number `step`; returns how to undo it."""
    original = kind.step

    def failing(self, x, weight, share, number, closes):
        if number == step:
            raise Stop
        original(self, x, weight, share, number, closes)

    monkeypatch.setattr(kind, "step", failing)
    return lambda: monkeypatch.setattr(kind, "step", original)


def count_steps(monkeypatch, kind):
    original, steps = kind.step, []
    monkeypatch.setattr(kind, "step", lambda self, *args: (steps.append(args[3]), original(self, *args))[1])
    return steps


def same(a, b):
    (mine, plain), (theirs, others) = a.get_state(), b.get_state()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    assert plain == others


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("form", "step"), [("array", 37), ("stream", 5), ("stream", 118)])
def test_going_on_is_to_the_bit_what_undisturbed_training_is(name, form, step, tmp_path, monkeypatch):
    model = MODELS[name]
    kind = CompiledStepper if name.startswith("compiled") else TorchStepper
    assert isinstance(stepper_for([model], [0], data()), kind)
    give = data if form == "array" else Stream
    undisturbed = model.clone().fit(give(), seed=4)
    undo = stop_at(monkeypatch, kind, step)
    with pytest.raises(Stop):
        model.clone().fit(give(), seed=4, checkpoint=tmp_path / "here")
    undo()
    assert (tmp_path / "here").exists()
    steps = count_steps(monkeypatch, kind)
    resumed = model.clone().fit(give(), seed=4, checkpoint=tmp_path / "here")
    assert steps == list(range(step, STEPS + 1))
    same(resumed, undisturbed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [10, 19, 33])
def test_a_stream_that_breaks_off_can_be_gone_on_with(stop, tmp_path):
    model = MODELS["compiled"].clone()
    undisturbed = model.clone().fit(Stream(), seed=1)
    with pytest.raises(Stop):
        model.clone().fit(Stream(stop), seed=1, checkpoint=tmp_path / "here")
    again = Stream()
    same(model.clone().fit(again, seed=1, checkpoint=tmp_path / "here"), undisturbed)


def test_a_stream_that_can_be_read_once_is_passed_over_to_where_training_was(tmp_path, monkeypatch):
    model = MODELS["compiled"].clone().set_params(samples=900, held_out=0)
    undisturbed = model.clone().fit(iter(Stream()), seed=1)
    undo = stop_at(monkeypatch, CompiledStepper, 20)
    with pytest.raises(Stop):
        model.clone().fit(iter(Stream()), seed=1, checkpoint=tmp_path / "here")
    undo()
    same(model.clone().fit(iter(Stream()), seed=1, checkpoint=tmp_path / "here"), undisturbed)


def test_several_models_and_stacks_go_on_together(tmp_path, monkeypatch):
    for stack in (False, True):
        models = [MODELS["torch"], MODELS["torch"], MODELS["compiled"]]
        undisturbed = [m.clone() for m in models]
        fit_together(undisturbed, data(), [1, 2, 3], threads=1, stack=stack)
        undo = stop_at(monkeypatch, TorchStepper, 60)
        with pytest.raises(Stop):
            fit_together([m.clone() for m in models], data(), [1, 2, 3], threads=1, stack=stack, checkpoint=tmp_path / "here")
        undo()
        resumed = [m.clone() for m in models]
        fit_together(resumed, data(), [1, 2, 3], threads=1, stack=stack, checkpoint=tmp_path / "here")
        for a, b in zip(resumed, undisturbed, strict=True):
            same(a, b)


def test_early_stopping_goes_on_as_it_would_have(tmp_path, monkeypatch):
    model = MODELS["compiled"].clone().set_params(patience=2, lr=0.5, decay=0.0)
    undisturbed = model.clone().fit(data(), seed=0)
    last = undisturbed.history_["samples"][-1]
    assert last < 32 * STEPS
    undo = stop_at(monkeypatch, CompiledStepper, last // 32 - 1)
    with pytest.raises(Stop):
        model.clone().fit(data(), seed=0, checkpoint=tmp_path / "here")
    undo()
    same(model.clone().fit(data(), seed=0, checkpoint=tmp_path / "here"), undisturbed)


def test_killed_at_once_and_gone_on_with_is_the_same(tmp_path):
    """The child process dies by SIGKILL inside a step, as the kernel kills it when memory is short."""
    model = MODELS["compiled"].clone()
    undisturbed = model.clone().fit(data(), seed=4)
    child = os.fork()
    if child == 0:
        original = CompiledStepper.step

        def fatal(self, x, weight, share, number, closes):
            if number == 77:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, x, weight, share, number, closes)

        CompiledStepper.step = fatal
        try:
            model.clone().fit(data(), seed=4, checkpoint=tmp_path / "here")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with safe_open(tmp_path / "here", framework="pt") as file:
        assert '"done": 76' in file.metadata()["plain"]
    same(model.clone().fit(data(), seed=4, checkpoint=tmp_path / "here"), undisturbed)


def test_a_bit_that_changed_is_not_gone_on_with(tmp_path):
    file = checkpoints.Checkpoint(tmp_path / "here", "spec")
    file.write({"w": torch.arange(4.0), "b": torch.tensor(True), "h": torch.ones(2, dtype=torch.bfloat16)}, {"done": 1})
    assert torch.equal(file.read()[0]["w"], torch.arange(4.0))
    whole = (tmp_path / "here").read_bytes()
    for place in range(8, len(whole)):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1
        (tmp_path / "here").write_bytes(spoiled)
        try:
            arrays, plain = file.read()
        except UnusableCheckpoint:
            continue
        assert plain == {"done": 1}  # a name that nobody reads, or a space
        assert torch.equal(arrays["w"], torch.arange(4.0))


SCRIPT = """
import sys, torch
from threadpoolctl import threadpool_limits
from testbed.estimators.sparse import checkpoints
from testbed.estimators.sparse.topk_sae import TopKSAE
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
torch.set_num_threads(1)
g = torch.Generator().manual_seed(0)
with threadpool_limits(1):
    x = torch.randn(20_000, 32, generator=g)
    sae = TopKSAE(n_codes=128, k=4, samples=100_000, batch_size=128).fit(torch.split(x, 3000), seed=0, checkpoint=sys.argv[1])
torch.save(sae.get_state()[0], sys.argv[2])
"""


@pytest.mark.slow
def test_a_process_killed_from_outside_again_and_again_learns_the_same(tmp_path):
    def start(place, result):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(place), str(result)])

    assert start(tmp_path / "unused", tmp_path / "undisturbed").wait() == 0
    file, kills = tmp_path / "here", 0
    while kills < 4:
        process = start(file, tmp_path / "resumed")
        while process.poll() is None and not file.exists():
            time.sleep(0.02)
        began = file.stat().st_mtime_ns if file.exists() else 0
        while process.poll() is None and file.exists() and file.stat().st_mtime_ns == began:
            time.sleep(0.01)
        time.sleep(0.05 * (kills + 1))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    else:
        assert start(file, tmp_path / "resumed").wait() == 0
    assert kills
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ("undisturbed", "resumed"))
    assert a.keys() == b.keys()
    assert all(torch.equal(torch.as_tensor(a[n]), torch.as_tensor(b[n])) for n in a)
    assert not file.exists()


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A checkpoint that an interrupted training left."""
    undo = stop_at(monkeypatch, CompiledStepper, 50)
    with pytest.raises(Stop):
        MODELS["compiled"].clone().fit(data(), seed=4, checkpoint=tmp_path / "here")
    undo()
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("params", "seed", "message"),
    [
        ({"k": 4}, 4, "of another training"),
        ({"lr": 0.02}, 4, "of another training"),
        ({}, 5, "of another training"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(left, params, seed, message):
    with pytest.raises(UnusableCheckpoint, match=message):
        MODELS["compiled"].clone().set_params(**params).fit(data(), seed=seed, checkpoint=left)


def test_a_checkpoint_of_other_models_columns_or_data_is_refused(left):
    with pytest.raises(UnusableCheckpoint, match="of another training"):
        BatchTopKSAE(k=3, **SHARED).fit(data(), seed=4, checkpoint=left)
    with pytest.raises(UnusableCheckpoint, match="of another training"):
        MODELS["compiled"].clone().fit(data()[:, :7], seed=4, checkpoint=left)
    with pytest.raises(UnusableCheckpoint, match="of other data"):
        MODELS["compiled"].clone().fit(2 * data() + 1, seed=4, checkpoint=left)
    assert left.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_in_a_sentence(left, share):
    whole = left.read_bytes()
    left.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnusableCheckpoint, match=r"cannot be read .* delete it to train from the start") as error:
        MODELS["compiled"].clone().fit(data(), seed=4, checkpoint=left)
    assert "\n" not in str(error.value)


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path):
    """A limit on the size of files stands for the disk: the first bytes are written, the rest is refused."""
    undisturbed = MODELS["compiled"].clone().fit(data(), seed=4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.warns(UserWarning, match="no checkpoint could be written to .* training goes on without it"):
            fitted = MODELS["compiled"].clone().fit(data(), seed=4, checkpoint=tmp_path / "here")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    same(fitted, undisturbed)
    assert list(tmp_path.iterdir()) == []


def test_when_the_disk_is_full_the_older_checkpoint_stays(left, monkeypatch):
    old = left.read_bytes()
    file = checkpoints.Checkpoint(left, "spec")

    def full(*args, **kwargs):
        (left.parent / "here.draft").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        file.write({"a": torch.zeros(3)}, {})
    assert left.read_bytes() == old
    assert not (left.parent / "here.draft").exists()


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"no checkpoint can be written to .* give another place"):
        MODELS["compiled"].clone().fit(data(), seed=4, checkpoint=tmp_path / "file" / "here")


# --------------------------------------------------------------------------------------------------------- how often


def test_checkpoints_are_written_in_the_midst_of_long_windows_and_cost_a_small_share(tmp_path, monkeypatch):
    written = []
    write = checkpoints.Checkpoint.write
    monkeypatch.setattr(checkpoints.Checkpoint, "write", lambda self, *args: (written.append(args[1]["done"]), write(self, *args))[1])
    MODELS["compiled"].clone().set_params(revivals=0).fit(data(), seed=4, checkpoint=tmp_path / "here")
    assert written == list(range(1, STEPS + 1))
    file = checkpoints.Checkpoint(tmp_path / "other", "")
    monkeypatch.setattr(checkpoints, "SHARE", 0.05)
    monkeypatch.setattr(checkpoints, "SECONDS", 1e-9)
    clock = iter([0.0, 2.0, 41.0, 42.1])
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(clock))
    write(file, {}, {})  # takes 2 seconds, so the next one is due 40 seconds later
    assert not file.due()
    assert file.due()


def test_estimators_whose_fit_takes_a_checkpoint_are_resumable():
    assert is_resumable(TopKSAE())
    assert not is_resumable(PCA())
    assert isinstance(stepper_for([MODELS["torch"]], [0], data()), Stepper)
