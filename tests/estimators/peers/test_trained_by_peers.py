"""Autoencoders that peers train, where they are installed: our codes with their weights are theirs, and ours load there."""

import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput
from testbed.estimators.peers.dictionary_learning_sae import DictionaryLearningSAE
from testbed.estimators.peers.overcomplete_sae import OvercompleteSAE
from testbed.estimators.peers.saelens_sae import SAELensSAE
from testbed.estimators.peers.weights import write_weights

pytestmark = pytest.mark.slow

PEERS = {SAELensSAE: "architecture", DictionaryLearningSAE: "trainer", OvercompleteSAE: "kind"}
EVERY = [(cls, kind) for cls in PEERS for kind in cls.choices]


@pytest.fixture(scope="module")
def data():
    """Forty concepts in sixteen dimensions, away from the origin."""
    g = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(40, 16, generator=g), dim=1)
    values = (torch.rand(4000, 40, generator=g) < 0.06) * (1 + torch.rand(4000, 40, generator=g))
    return values @ atoms + 0.3


@pytest.mark.parametrize(("cls", "kind"), EVERY, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_our_codes_are_the_peers_own(cls, kind, data, python_of):
    python_of(cls.peer)
    estimator = cls.small().set_params(**{PEERS[cls]: kind, "lr": 3e-3})
    trained = estimator.trained(data, 0, probe=data[:1000])
    codes = trained.coder.encode(data[:1000]).dense()
    assert (codes - trained.probed["codes"]).abs().max() < 1e-5
    assert (trained.coder.decode(codes) - trained.probed["decoded"]).abs().max() < 1e-5
    assert trained.seconds["cpu"] > 0
    assert cls.peer.package in trained.versions


@pytest.mark.parametrize("cls", list(PEERS))
def test_the_default_learns_something(cls, data, python_of):
    python_of(cls.peer)
    fitted = cls.small().set_params(samples=51_200, lr=3e-3).fit(data, seed=0)
    error = (fitted.decode(fitted.encode(data)) - data).square().sum()
    # Sixty percent is far from what it reaches, and farther from what untrained weights do (below 0).
    assert 1 - error / (data - data.mean(dim=0)).square().sum() > 0.6
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0]


@pytest.mark.parametrize("cls", [SAELensSAE, OvercompleteSAE])  # a dozen fits each; what differs between peers is tested above
def test_the_contract_is_kept(cls, python_of):
    python_of(cls.peer)
    assert [check.problem for check in check_estimator(cls.small().set_params(samples=1024)) if check.problem] == []


@pytest.mark.parametrize("cls", list(PEERS))
def test_options_reach_the_peer_and_unknown_ones_are_named(cls, data, python_of):
    python_of(cls.peer)
    with pytest.raises(InvalidInput, match="takes no option wings: it takes"):
        cls.small().set_params(options={"wings": 2}).fit(data, seed=0)


def test_a_peer_that_stops_is_quoted(data, python_of):
    python_of(SAELensSAE.peer)
    with pytest.raises(InvalidInput, match=r"SAELens stopped with \w+: .* in \w+\.py, line \d+"):
        SAELensSAE.small().set_params(options={"lr_scheduler_name": "whim"}).fit(data, seed=0)


THEIRS = {
    "saelens": "from sae_lens.saes.sae import SAE\nsae = SAE.load_from_disk(folder)",
    "dictionary_learning": """
import importlib, json, sys, types
for name in ("nnsight", "wandb"):
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].LanguageModel = object
kind = json.load(open(folder + "/config.json"))["trainer"]["dict_class"]
module = "trainers.top_k" if kind == "AutoEncoderTopK" else "dictionary"
sae = getattr(importlib.import_module("dictionary_learning." + module), kind)
sae = sae.from_pretrained(folder + "/ae.pt", **({"normalize_decoder": False} if kind == "AutoEncoder" else {}))
""",
}
READ = """
import importlib.util, sys, torch
from safetensors.torch import load_file, save_file
folder = sys.argv[1]
{load}
with torch.no_grad():
    x = load_file(folder + "/rows.st")["x"]
    codes = sae.encode(x)
    save_file({{"codes": codes.contiguous(), "decoded": sae.decode(codes).contiguous()}}, folder + "/found.st")
"""


@pytest.mark.parametrize(("format", "cls"), [("saelens", SAELensSAE), ("dictionary_learning", DictionaryLearningSAE)])
@pytest.mark.parametrize("activation", ["relu", "topk", "jump_relu", "gated"])
def test_what_we_write_gives_the_same_codes_there(tmp_path, coder, rows, python_of, format, cls, activation):
    python = python_of(cls.peer)
    write_weights(coder(activation), tmp_path / "sae", format)
    save_file({"x": rows}, tmp_path / "sae" / "rows.st")
    command = [python, "-I", "-c", READ.format(load=THEIRS[format]), str(tmp_path / "sae")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "sae" / "found.st")
    assert (found["codes"] - coder(activation).codes(rows)).abs().max() < 1e-5
    assert torch.allclose(found["decoded"], coder(activation).decode(found["codes"]), rtol=1e-5, atol=1e-5)
