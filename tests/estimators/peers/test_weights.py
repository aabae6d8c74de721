"""Weights go out and come back with the same codes; folders written by hand are read as their library would; damage is named."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import linear, relu

from testbed.contracts import InvalidInput
from testbed.estimators.peers.weights import read_weights, write_weights
from testbed.estimators.sparse.topk_sae import TopKSAE

M, D = 12, 5
ACTIVATIONS = ("relu", "topk", "jump_relu", "gated")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(100 + seed + 17 * len(shape)))


def at(folder, format):
    return folder / ("weights.safetensors" if format == "safetensors" else "sae")


# ---------------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "safetensors"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("subtract", [True, False])
def test_a_round_trip_keeps_codes_and_rows(tmp_path, coder, rows, format, activation, subtract):
    before = coder(activation, subtract_bias=subtract)
    write_weights(before, at(tmp_path, format), format)
    for named in ("auto", format):
        after = read_weights(at(tmp_path, format), named)
        assert (after.codes(rows) - before.codes(rows)).abs().max() < 1e-5
        assert torch.allclose(after.decode(after.codes(rows)), before.decode(before.codes(rows)), rtol=1e-6, atol=1e-5)
    assert (before.codes(rows) > 0).any()


@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "safetensors"])
def test_an_estimator_of_ours_goes_round(tmp_path, rows, format):
    sae = TopKSAE(n_codes=M, k=2, samples=2000, batch_size=100).fit(rows, seed=0)
    write_weights(sae, at(tmp_path, format), format)
    assert (read_weights(at(tmp_path, format)).codes(rows) - sae.encode(rows).dense()).abs().max() < 1e-5


@pytest.mark.parametrize("normalisation", ["constant_norm", "layer_norm"])
def test_normalisation_goes_with_the_weights(tmp_path, coder, rows, normalisation):
    before = coder(normalisation=normalisation)
    write_weights(before, tmp_path / "sae", "saelens")
    assert torch.allclose(read_weights(tmp_path / "sae").codes(rows), before.codes(rows), atol=1e-5)
    with pytest.raises(InvalidInput, match="no class for normalisation"):
        write_weights(before, tmp_path / "other", "dictionary_learning")


def test_a_pursuit_is_kept_by_our_own_format_alone(tmp_path, coder, rows):
    before = coder("pursuit")
    write_weights(before, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors").codes(rows), before.codes(rows))
    for format in ("saelens", "dictionary_learning"):
        with pytest.raises(InvalidInput, match="export to format 'safetensors'"):
            write_weights(before, tmp_path / "sae", format)


# ----------------------------------------------------------------------------------------------- SAELens folders written by hand

SAELENS = {"W_enc": draw(D, M), "b_enc": draw(M), "W_dec": draw(M, D, seed=1), "b_dec": draw(D, seed=2)}


def saelens(folder, config, **tensors):
    folder.mkdir()
    version = {} if "architecture" not in config else {"metadata": {"sae_lens_version": "6.1.0"}}
    config = {"d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu", **version, **config}
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({**SAELENS, **tensors}, folder / "sae_weights.safetensors")
    return folder


def pre(rows, subtract=True):
    return (rows - subtract * SAELENS["b_dec"]) @ SAELENS["W_enc"] + SAELENS["b_enc"]


def largest(z, k):
    value, index = z.topk(k, dim=1)
    return torch.zeros_like(z).scatter(1, index, relu(value))


def test_saelens_standard(tmp_path, rows):
    found = read_weights(saelens(tmp_path / "a", {"architecture": "standard", "apply_b_dec_to_input": True}))
    assert torch.allclose(found.codes(rows), relu(pre(rows)), atol=1e-5)
    found = read_weights(saelens(tmp_path / "b", {"architecture": "standard", "apply_b_dec_to_input": False}))
    assert torch.allclose(found.codes(rows), relu(pre(rows, subtract=False)), atol=1e-5)


def test_saelens_topk_selects_by_the_decoders_norm_where_it_was_trained_so(tmp_path, rows):
    found = read_weights(saelens(tmp_path / "a", {"architecture": "topk", "k": 4}))
    assert torch.allclose(found.codes(rows), largest(pre(rows), 4), atol=1e-5)
    found = read_weights(saelens(tmp_path / "b", {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": True}))
    norm = SAELENS["W_dec"].norm(dim=1)
    codes = largest(pre(rows) * norm, 4)
    assert torch.allclose(found.codes(rows), codes, atol=1e-5)
    assert torch.allclose(found.decode(found.codes(rows)), codes / norm @ SAELENS["W_dec"] + SAELENS["b_dec"], atol=1e-5)


def test_saelens_jumprelu_old_and_new(tmp_path, rows):
    theta = draw(M, seed=3).abs()
    wanted = relu(pre(rows)) * (pre(rows) > theta)
    for name, tensors in {"new": {"threshold": theta}, "old": {"log_threshold": theta.log()}}.items():
        found = read_weights(saelens(tmp_path / name, {"architecture": "jumprelu"}, **tensors))
        assert torch.allclose(found.codes(rows), wanted, atol=1e-5)


def test_saelens_batchtopk_as_it_is_saved_while_training(tmp_path, rows):
    found = read_weights(saelens(tmp_path / "a", {"architecture": "batchtopk", "k": 4.0}, topk_threshold=torch.tensor(0.7).double()))
    assert torch.allclose(found.codes(rows), relu(pre(rows)) * (pre(rows) > 0.7), atol=1e-5)


def test_saelens_gated(tmp_path, rows):
    gate, log_gain, magnitude = draw(M, seed=4), draw(M, seed=5), draw(M, seed=6)
    found = read_weights(saelens(tmp_path / "a", {"architecture": "gated"}, b_gate=gate, r_mag=log_gain, b_mag=magnitude))
    centred = rows - SAELENS["b_dec"]
    on = centred @ SAELENS["W_enc"] + gate > 0
    assert torch.allclose(found.codes(rows), on * relu(centred @ (SAELENS["W_enc"] * log_gain.exp()) + magnitude), atol=1e-4)


def test_saelens_before_version_six(tmp_path, rows):
    found = read_weights(
        saelens(tmp_path / "a", {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}, scaling_factor=torch.ones(M))
    )
    assert torch.allclose(found.codes(rows), largest(pre(rows), 2), atol=1e-5)


# ------------------------------------------------------------------------------------ dictionary_learning folders written by hand


def dictionary_learning(folder, name, state, config=True):
    folder.mkdir()
    torch.save(state, folder / "ae.pt")
    if config:
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": name}, "buffer": {}}))
    return folder


W_E, B_E, W_D, B = draw(M, D), draw(M, seed=1), draw(D, M, seed=2), draw(D, seed=3)
LINEAR = {"encoder.weight": W_E, "encoder.bias": B_E, "decoder.weight": W_D}


@pytest.mark.parametrize("config", [True, False])
def test_dictionary_learning_autoencoders(tmp_path, rows, config):
    found = read_weights(dictionary_learning(tmp_path / "a", "AutoEncoder", {**LINEAR, "bias": B}, config))
    codes = relu(linear(rows - B, W_E, B_E))
    assert torch.allclose(found.codes(rows), codes, atol=1e-5)
    assert torch.allclose(found.decode(found.codes(rows)), linear(codes, W_D) + B, atol=1e-4)
    found = read_weights(dictionary_learning(tmp_path / "b", "AutoEncoderNew", {**LINEAR, "decoder.bias": B}, config))
    assert torch.allclose(found.codes(rows), relu(linear(rows, W_E, B_E)), atol=1e-5)


def test_dictionary_learning_topk_and_batch_topk_differ_by_their_class_alone(tmp_path, rows):
    state = {**LINEAR, "b_dec": B, "k": torch.tensor(2, dtype=torch.int), "threshold": torch.tensor(1.5)}
    z = relu(linear(rows - B, W_E, B_E))
    assert torch.allclose(read_weights(dictionary_learning(tmp_path / "a", "AutoEncoderTopK", state)).codes(rows), largest(z, 2), atol=1e-5)
    assert torch.allclose(read_weights(dictionary_learning(tmp_path / "b", "BatchTopKSAE", state)).codes(rows), z * (z > 1.5), atol=1e-5)
    with pytest.raises(InvalidInput, match=r"may be a TopK or a BatchTopK: put the config\.json"):
        read_weights(dictionary_learning(tmp_path / "c", "", state, config=False) / "ae.pt")


@pytest.mark.parametrize("config", [True, False])
def test_dictionary_learning_matryoshka_jump_relu_and_gated(tmp_path, rows, config):
    square = {"W_enc": W_E.T.contiguous(), "b_enc": B_E, "W_dec": W_D.T.contiguous(), "b_dec": B}
    state = {**square, "k": torch.tensor(2), "threshold": torch.tensor(0.4), "group_sizes": torch.tensor([4, M - 4])}
    z = linear(rows - B, W_E, B_E)
    found = read_weights(dictionary_learning(tmp_path / "a", "MatryoshkaBatchTopKSAE", state, config))
    assert torch.allclose(found.codes(rows), relu(z) * (z > 0.4), atol=1e-5)
    theta = draw(M, seed=8).abs()
    z = linear(rows, W_E, B_E)
    found = read_weights(dictionary_learning(tmp_path / "b", "JumpReluAutoEncoder", {**square, "threshold": theta}, config))
    assert torch.allclose(found.codes(rows), relu(z * (z > theta)), atol=1e-5)
    parts = {"decoder_bias": B, "r_mag": draw(M, seed=5), "gate_bias": B_E, "mag_bias": draw(M, seed=6)}
    state = {"encoder.weight": W_E, "decoder.weight": W_D, **parts}
    z = linear(rows - B, W_E)
    found = read_weights(dictionary_learning(tmp_path / "c", "GatedAutoEncoder", state, config))
    assert torch.allclose(found.codes(rows), (z + B_E > 0) * relu(parts["r_mag"].exp() * z + parts["mag_bias"]), atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- plain safetensors


def test_plain_files_of_others_are_told_apart_by_their_tensors(tmp_path, rows):
    file = tmp_path / "w.safetensors"
    save_file(SAELENS, file)
    assert torch.allclose(read_weights(file).codes(rows), relu(pre(rows)), atol=1e-5)
    save_file({**SAELENS, "threshold": torch.tensor([0.3])}, file)
    assert torch.allclose(read_weights(file).codes(rows), relu(pre(rows)) * (pre(rows) > 0.3), atol=1e-5)
    save_file(SAELENS, file, metadata={"k": "3"})
    assert torch.allclose(read_weights(file).codes(rows), largest(pre(rows), 3), atol=1e-5)
    save_file(SAELENS, file, metadata={"k": "many"})
    with pytest.raises(InvalidInput, match="whole number"):
        read_weights(file)


# ------------------------------------------------------------------------------------------------------------------------ damage


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("format", ["saelens", "dictionary_learning", "safetensors"])
def test_a_file_cut_short_is_named(tmp_path, coder, format):
    path = at(tmp_path, format)
    write_weights(coder(), path, format)
    cut(next(file for file in [path, *path.glob("*.safetensors"), *path.glob("*.pt")] if file.is_file()))
    with pytest.raises(InvalidInput, match=r"is not a whole .* copy it again"):
        read_weights(path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a file that was read ran code",))


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    torch.save({"encoder.weight": Trap()}, tmp_path / "ae.pt")
    with pytest.raises(InvalidInput, match="not a whole checkpoint of plain tensors"):
        read_weights(tmp_path / "ae.pt")


def test_what_is_no_weights_is_said(tmp_path, coder):
    with pytest.raises(InvalidInput, match="there is nothing at"):
        read_weights(tmp_path / "absent")
    with pytest.raises(InvalidInput, match=r"no weights: give a folder with cfg\.json"):
        read_weights(tmp_path)
    with pytest.raises(InvalidInput, match="no format 'onnx'"):
        read_weights(tmp_path, "onnx")
    with pytest.raises(InvalidInput, match="no format 'onnx'"):
        write_weights(coder(), tmp_path / "x", "onnx")
    torch.save([torch.ones(2)], tmp_path / "ae.pt")
    with pytest.raises(InvalidInput, match="no state dict"):
        read_weights(tmp_path)
    for text in ("{", "[" * 10**5):
        (tmp_path / "cfg.json").write_text(text)
        with pytest.raises(InvalidInput, match=r"cfg\.json is not JSON"):
            read_weights(tmp_path)
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(InvalidInput, match="no JSON object"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"architecture": "temporal"}, {}, "'temporal': only standard"),
        ({"architecture": "jumprelu"}, {}, "no tensor 'threshold' but W_dec, W_enc"),
        ({"architecture": "topk"}, {}, "k = None"),
        ({"architecture": "topk", "k": M + 1}, {}, "k must lie between 1 and"),
        ({"architecture": "standard", "d_in": D + 1}, {}, r"\(d_sae, d_in\) = \(12, 6\), but W_dec is \(12, 5\)"),
        ({"architecture": "standard"}, {"b_enc": torch.ones(M + 1)}, r"encoder_bias has shape \(13,\)"),
        ({"architecture": "standard"}, {"W_enc": torch.ones(M, D)}, r"encoder has shape \(5, 12\)"),
        ({"architecture": "standard"}, {"W_dec": torch.full((M, D), float("inf"))}, "NaN or infinity"),
        ({"architecture": "standard", "normalize_activations": "dance"}, {}, "normalises activations by 'dance'"),
        ({"architecture": "standard"}, {"scaling_factor": torch.full((M,), 2.0)}, "fine-tuning scaling factor"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, config, tensors, message):
    folder = saelens(tmp_path / "sae", config, **tensors)
    with pytest.raises(InvalidInput, match=message) as caught:
        read_weights(folder)
    assert str(folder) in str(caught.value)


def test_classes_of_dictionary_learning_that_cannot_be_computed_are_named(tmp_path):
    with pytest.raises(InvalidInput, match="is a CrossCoder: only AutoEncoder"):
        read_weights(dictionary_learning(tmp_path / "a", "CrossCoder", LINEAR))
    (tmp_path / "a" / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"names no trainer\.dict_class"):
        read_weights(tmp_path / "a")
