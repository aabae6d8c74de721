"""The command line as a user meets it: one sentence for what is wrong, results for what is right."""

import json
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest
from safetensors.torch import load_file

from testbed import __version__


def testbed(*arguments, code=0):  # noqa: PT028
    found = subprocess.run([sys.executable, "-m", "testbed", *arguments], capture_output=True, text=True)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout + found.stderr


testbed.__test__ = False


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the toy suite."""
    import shutil
    from pathlib import Path

    folder = tmp_path_factory.mktemp("finished")
    for file in (Path(__file__).parent / "toys").glob("toy*"):
        shutil.copy(file, folder)
    out = subprocess.run([sys.executable, "-m", "testbed", "run", "toy.toml"], capture_output=True, text=True, cwd=folder, check=True)
    return folder, out.stdout


def test_help_is_quick_and_loads_no_torch():
    clock = time.perf_counter()
    text = testbed("--help")
    assert time.perf_counter() - clock < 3  # half a second alone; tests share the machine
    assert "testbed run quick" in text
    assert testbed("--version").strip() == __version__
    script = (
        "import sys, testbed.cli\ntry:\n    testbed.cli.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.endswith("False False\n")


def test_a_run_ends_with_claims_leaderboard_and_the_reports_path(finished):
    folder, out = finished
    assert "60 stages computed" in out
    assert "oracle-at-ceiling" in out
    assert "Report: runs/toy/report.html" in out
    for name in ("report.html", "claims.json", "leaderboard.csv", "index.parquet", "run.json"):
        assert (folder / "runs" / "toy" / name).is_file()


def test_a_second_run_says_that_nothing_was_computed(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    assert "nothing to do: no stage computed" in testbed("run", "toy.toml")


def test_a_dry_run_does_nothing(toys):
    assert "21 jobs would run" in testbed("run", "toy.toml", "--dry-run")
    assert not (toys / "runs").exists()


def test_claims_as_json_and_strict(finished, toys, monkeypatch):
    monkeypatch.chdir(finished[0])
    claims = json.loads(testbed("claims", "runs/toy", "--json", "--strict"))
    assert {"id", "verdict", "value", "low", "high", "bar", "n"} <= set(claims[0])
    assert {c["verdict"] for c in claims} == {"shown"}
    monkeypatch.chdir(toys)
    text = (toys / "toy.toml").read_text().replace("margin = 0.01", "margin = 0.000001")
    (toys / "toy.toml").write_text(text)
    testbed("run", "toy.toml", "--out", "strict")
    testbed("claims", "strict", "--strict", code=1)


def test_show_lists_trials_and_tells_everything_about_one(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    assert "gauss/0/random/0" in testbed("show", "runs/toy")
    assert '"class": "toys:ToyEstimator"' in testbed("show", "runs/toy", "--trial", "gauss/0/random/0")
    assert "did you mean" in testbed("show", "runs/toy", "--trial", "gauss/0/randm/0", code=2)


def test_a_report_is_written_anew(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    before = (finished[0] / "runs/toy/report.html").stat().st_mtime_ns
    assert "report.html" in testbed("report", "runs/toy")
    assert (finished[0] / "runs/toy/report.html").stat().st_mtime_ns > before


def test_lists_name_what_there_is():
    text = testbed("list")
    for name in ("sparse_concepts", "topk_sae", "decoder_mcc", "quick", "smollm2-135m"):
        assert name in text
    assert "pca" not in testbed("list", "generators")


def test_a_sample_is_one_file_with_rows_latents_and_atoms(tmp_path):
    out = tmp_path / "rows.safetensors"
    testbed("sample", "sparse_concepts", "--set", "levels=[4,12]", "--set", "dimension=8", "--n", "100", "--seed", "3", "--out", str(out))
    tensors = load_file(out)
    assert tensors["view/mixed"].shape == (100, 8)
    assert tensors["latent/0"].shape == (100, 4)
    assert tensors["dictionary/mixed/1"].shape == (12, 8)
    again = tmp_path / "again.safetensors"
    testbed("sample", "sparse_concepts", "--set", "levels=[4,12]", "--set", "dimension=8", "--n", "100", "--seed", "3", "--out", str(again))
    assert again.read_bytes() == out.read_bytes()


def test_assumptions_are_listed_and_checked_on_an_instance():
    assert "structural_sparsity" in testbed("list", "assumptions")
    rows = json.loads(testbed("assumptions", "sparse_concepts", "--set", "levels=[2,8]", "--set", "dimension=16", "--json"))
    verdicts = {row["assumption"]: row["verdict"] for row in rows}
    assert verdicts["injective"] == "holds"  # ten random atoms in sixteen dimensions
    assert verdicts["not_void"] == "holds"
    void = ["--set", "all_on=1.0", "--set", "lone_firing=1.0"]
    rows = json.loads(testbed("assumptions", "sparse_concepts", "--set", "levels=[2,8]", *void, "--json"))
    assert next(row["verdict"] for row in rows if row["assumption"] == "not_void") == "fails"
    assert "not_void" in testbed("assumptions", "sparse_concepts", "--set", "levels=[2,8]")


def test_a_failed_trial_exits_with_1_after_the_others(toys):
    text = testbed("run", "toy.toml", "--set", "estimator.random.trouble=raise", code=1)
    assert "the toy refuses to fit" in text
    assert "oracle-at-ceiling" in text
    assert "Failed trials are tried again by the next run" in text
    assert "Traceback" not in text
    shown = testbed("show", "runs/toy", "--trial", "gauss/0/random/0")
    assert "Traceback" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "quikc"], "there is no suite 'quikc'; did you mean 'quick'?"),
        (["run", "toy.toml", "--preset", "big"], "there is no preset 'big'"),
        (["run", "toy.toml", "--only", "orakle"], "did you mean 'oracle'?"),
        (["run", "toy.toml", "--set", "instances=none"], "instances"),
        (["run", "toy.toml", "--jobs", "0"], "--jobs 0"),
        (["run", "toy.toml", "--device", "cuda"], "no CUDA device"),
        (["report", "nowhere"], "nowhere holds no run"),
        (["claims", "."], "holds no run"),
        (["check", "toys:Nothing"], "no class 'Nothing'"),
        (["check", "sparse_conceps"], "did you mean 'sparse_concepts'?"),
        (["sample", "sparse_concepts", "--out", "x.npz"], "must end in .safetensors"),
        (["sample", "sparse_concepts", "--set", "nose=1", "--out", "x.safetensors"], "did you mean 'noise'?"),
        (["sample", "sparse_concepts", "--set", "a.b=1", "--out", "x.safetensors"], "name one parameter"),
    ],
)
def test_bad_input_is_one_sentence_and_a_code_that_is_not_0(toys, arguments, sentence):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    code = 1 if "cuda" in arguments else 2  # the device is asked for by each trial
    text = testbed(*arguments, code=code)
    assert sentence in " ".join(text.split())
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=lambda value: str(value)
)
def test_a_run_that_is_stopped_says_how_to_go_on_and_leaves_no_worker(toys, number, code):
    command = [sys.executable, "-m", "testbed", "run", "toy.toml", "--jobs", "2", "--set", "estimator.random.trouble=sleep"]
    # A job in the background inherits that interrupts are ignored.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeds)
    while "3/21" not in process.stdout.readline():  # the samples are there: both workers go to sleep
        pass
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait(timeout=30)
    assert children
    _, alive = psutil.wait_procs(children, timeout=20)
    for child in alive:
        child.kill()
    assert not alive
    assert process.returncode == code
    assert ("run the same command again to go on" in process.stdout.read()) == (number != signal.SIGKILL)


def test_debug_shows_the_traceback(toys):
    assert "Traceback" in testbed("--debug", "run", "quikc", code=1)


def test_instances_needed_are_told_from_a_pilot(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    asked = ["seeds-needed", "runs/toy", "--estimators", "oracle", "random", "--difference", ".02"]
    text = testbed(*asked, "--score", "score")
    assert "Instances to show a difference of 0.02 in score between oracle and random" in text
    assert "gauss" in text
    assert "did you mean 'score'" in testbed(*asked, "--score", "scor", code=2)


def test_a_folder_of_suites_is_run_together_and_judged_together(tmp_path):
    import shutil
    from pathlib import Path

    toys = Path(__file__).parent / "toys"
    shutil.copy(toys / "toys.py", tmp_path)
    (tmp_path / "both").mkdir()
    text = (toys / "toy.toml").read_text()
    (tmp_path / "both" / "first.toml").write_text(text.replace('name = "toy"', 'name = "first"', 1))
    (tmp_path / "both" / "second.toml").write_text(text.replace('name = "toy"', 'name = "second"', 1).replace('"random"', '"blind"'))
    run = [sys.executable, "-m", "testbed", "run", "both", "--preset", "tiny"]
    out = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert "first/oracle-at-ceiling" in out
    page = (tmp_path / "runs" / "both" / "report.html").read_text()
    assert 'href="first/report.html"' in page
    assert 'href="second/report.html"' in page
    ids = {claim["id"] for claim in json.loads((tmp_path / "runs" / "both" / "claims.json").read_text())}
    assert {"first/oracle-above-random", "second/oracle-above-random"} <= ids
    assert "second/oracle-at-ceiling" in testbed("claims", str(tmp_path / "runs" / "both"))
    plan = subprocess.run([*run, "--only", "blind", "--dry-run"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert plan.count("A toy suite") == 1
    assert "estimators: blind" in plan
    nobody = subprocess.run([*run, "--only", "nobody"], capture_output=True, text=True, cwd=tmp_path)
    assert nobody.returncode == 2
    assert "there is no such generator, estimator or evaluator" in nobody.stdout + nobody.stderr


def test_a_store_is_verified_mended_and_rid_of_what_nobody_needs(finished):
    folder, _ = finished
    out = str(folder / "runs" / "toy")
    assert "is in order" in testbed("verify", out)
    codes = next((folder / "runs" / "toy" / "stages" / "encode").glob("*/*/codes.safetensors"))
    codes.write_bytes(codes.read_bytes()[:-1])
    assert "codes.safetensors has" in testbed("verify", out, code=1)
    assert "1 damaged stages deleted" in testbed("verify", out, "--repair")
    assert "is in order" in testbed("verify", out)
    subprocess.run([sys.executable, "-m", "testbed", "run", "toy.toml"], capture_output=True, cwd=folder, check=True)
    assert "0 folders and files" in testbed("gc", out, "--dry-run")
    (folder / "runs" / "toy" / "work" / "fit-left").mkdir(parents=True)
    assert "fit-left" in testbed("gc", out, "--dry-run")
    assert "1 folders and files" in testbed("gc", out)
    assert "holds no run" in testbed("verify", str(folder), code=2)


def test_a_run_is_replayed_compared_and_exported(finished, tmp_path):
    folder, _ = finished
    out = str(folder / "runs" / "toy")
    run = partial(subprocess.run, capture_output=True, text=True, cwd=folder)
    again = run([sys.executable, "-m", "testbed", "replay", out, "--trial", "gauss/0/random/1"])
    assert (again.returncode, again.stdout.count("the same")) == (0, 5)
    assert "did you mean 'gauss/0/random/1'" in run([sys.executable, "-m", "testbed", "replay", out, "--trial", "gauss/0/random/l"]).stderr
    text = testbed("diff", out, out)
    assert "that both have are the same" in text
    assert "Settings" not in text
    assert "files in" in testbed("export", out, "--out", str(tmp_path / "export"))
    assert (tmp_path / "export" / "tables" / "gauss.tex").is_file()


def test_an_interrupt_while_the_report_is_written_ends_like_any_other(toys, monkeypatch):
    from typer.testing import CliRunner

    from testbed import cli

    def interrupted(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_finish", interrupted)
    found = CliRunner().invoke(cli.app, ["run", "toy.toml", "--preset", "tiny"])
    assert found.exit_code == 130
