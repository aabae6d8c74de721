"""Bad input on the command line, in one table: whatever a user gives wrong ends in one sentence with the place and the remedy.

Each case goes through `testbed.cli.main`, as ``testbed`` does: the exit code is not 0, nothing is said beside the sentence, and there is no
traceback unless ``--debug`` asks for one.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from testbed import cli
from testbed.contracts import InvalidInput

HELP = "-h|--help"
GROUPS = ("suite", "name", "type", "shape", "value", "file", "flag")


@dataclass(frozen=True)
class Case:
    """What is typed after ``testbed``, what its sentence says of the place and of the remedy, and what is spoiled before.

    `code` is 2 where the input is refused, 1 where it is found to fail: a trial, a check, damage.
    """

    typed: str
    place: str
    remedy: str
    spoil: Callable[[], None] = lambda: None
    code: int = 2

    @property
    def arguments(self) -> list[str]:
        return self.typed.split(" ")


def wrong(old, new, place, remedy, code=2):
    """The toy suite with one thing in it that is wrong."""

    def spoil():
        text = Path("toy.toml").read_text()
        assert text.count(old) >= 1
        Path("bad.toml").write_text(text.replace(old, new, 1))

    return Case("run bad.toml", place, remedy, spoil, code)


def toml(content, place, remedy):
    return Case("run bad.toml", place, remedy, lambda: Path("bad.toml").write_bytes(content))


def plugin(kind, body, place, remedy, code=1):
    """A component of the user's, in the place of a toy of that kind; what it does wrong is found by its trial."""
    label = {"ToyGenerator": "gauss", "ToyEstimator": "random", "ToyScore": "score"}[kind]

    def spoil():
        Path("mine.py").write_text(f"import sys\nimport torch\nfrom toys import *\n\n\nclass Mine({kind}):\n{body}\n")
        text = Path("toy.toml").read_text().replace(f"toys:{kind}", "mine:Mine", 1).split("[[claim]]")[0]
        Path("bad.toml").write_text(text + "\n[presets.tiny]\ninstances = 1\nfit_seeds = 1\ndata.train = 100\n")

    only = f" --only {label}" if label != "score" else " --only random --only score"
    return Case(f"run bad.toml --preset tiny{only}", place, remedy, spoil, code)


def run_json(change, typed, place, remedy="run the suite again"):
    """A finished run whose run.json was changed."""

    def spoil():
        path = Path("out/run.json")
        run = json.loads(path.read_text())
        path.write_text(json.dumps(change(run) or run))

    return Case(typed, place, remedy, spoil)


def record(stage, change, typed, place, remedy, code=2):
    """A finished run in which one record was changed, and its hash taken away, as someone would who wants it to pass."""

    def spoil():
        path = sorted(Path("out/stages", stage).glob("*/*/record.json"))[0]
        data = json.loads(path.read_text())
        data.pop("digest")
        change(data)
        path.write_text(json.dumps(data))

    return Case(typed, place, remedy, spoil, code)


def content(path, data, typed, place, remedy, code=2):
    """A file of a finished run that holds something else."""

    def spoil():
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return Case(typed, place, remedy, spoil, code)


def damaged():
    path = next(Path("out/stages/encode").glob("*/*/codes.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])


def syntax_error():
    Path("toys.py").write_text("class ToyGenerator(:\n")


def leaves_when_fitted():
    Path("mine.py").write_text(
        "import sys\nfrom toys import *\nclass Mine(ToyEstimator):\n    def fit(self, data, *, seed):\n        sys.exit(0)\n"
    )


def two_generators():
    text = Path("toy.toml").read_text().replace('label = "random"', 'label = "random"\non = ["gauss"]')
    text = text.replace('label = "oracle"', 'label = "oracle"\non = ["gauss"]')
    Path("two.toml").write_text(text + '\n[[generator]]\nname = "toys:ToyGenerator"\nlabel = "other"\n')


def exits():
    Path("mine.py").write_text("import sys\nsys.exit(0)\n")


NEEDED = "seeds-needed out --score score --estimators oracle random --difference .02"
TRIAL = "gauss/0/random/0"

CASES = {
    # ------------------------------------------------------------------------------------------------------------- suites
    "suite/unknown": Case("run quikc", "no suite 'quikc'", "did you mean 'quick'"),
    "suite/no TOML": toml(b"name = [\n", "bad.toml is not valid TOML", "at (line|end)"),
    "suite/not UTF-8": toml(b"\xff\xfe", "bad.toml cannot be read", "write it as text in UTF-8"),
    "suite/nested without end": toml(b"a = " + b"[" * 5000, "bad.toml is not valid TOML", "more than 100 levels deep"),
    "suite/nested by keys": toml(b"a" + b".a" * 500 + b" = 1", "bad.toml: tables and lists nest", "make it flatter"),
    "suite/a number of 5,000 digits": toml(b"seed = " + b"9" * 5000, "bad.toml is not valid TOML", "digits"),
    "suite/a number of 70 bits": wrong("instances = 3", f"seed = {2**70}", "bad.toml: seed", "give one that does"),
    "suite/empty folder": Case("run none", "folder none holds no suite", "a suite is a .toml file", lambda: Path("none").mkdir()),
    "suite/no generator": toml(
        b'name = "x"\nestimator = [{name="pca"}]', "bad.toml: generator is missing", r"list at least one \[\[generator"
    ),
    "suite/unknown key": wrong("instances", "instanses", "instanses: there is no such key", "did you mean 'instances'"),
    "suite/unknown key in data": wrong("train", "tran", "data.tran: there is no such key", "did you mean 'train'"),
    "suite/unknown key in an entry": wrong('label = "random"', 'lable = "x"', r"estimator\[0\].lable", "did you mean 'label'"),
    "suite/two of one label": wrong('"oracle"', '"random"', "two entries are labelled 'random'", "give one of them another label"),
    "suite/a label with a slash": wrong('"random"', '"a/b"', r"estimator\[0\].label", "a label is one line"),
    "suite/a label of two lines": wrong('"random"', '"a\\nb"', r"estimator\[0\].label", "a label is one line"),
    "suite/a name that leads elsewhere": wrong('name = "toy"', 'name = "../toy"', "bad.toml: name", "has no '/'"),
    "suite/an empty grid": wrong('label = "random"', 'label = "random"\ngrid = { m = [] }', r"grid.m: an empty grid", "give at least one"),
    "suite/set and swept": wrong(
        'label = "random"', 'label = "random"\ngrid = { m = [2] }\nparams = { m = 3 }', r"estimator\[0\]: 'm'", "leave it in one of them"
    ),
    "suite/a grid without end": wrong(
        'label = "random"',
        f'label = "random"\ngrid = {{ m = {list(range(1, 1200))}, marker = {[str(i) for i in range(1200)]} }}',
        r"estimator\[0\].grid has 1,438,800 settings",
        "give fewer values",
    ),
    "suite/trials without end": wrong("instances = 3", "instances = 999999", "3,999,996 trials", "lower instances"),
    "suite/on nobody": wrong('label = "random"', 'label = "random"\non = ["gaus"]', "on names no generator 'gaus'", "did you mean 'gauss'"),
    "suite/two claims of one id": wrong("oracle-above-random", "oracle-at-ceiling", "two claims have the id 'oracle-at-ceiling'", "rename"),
    "suite/a claim about nobody": wrong(
        'estimator = "random" }', 'estimator = "randon" }', "no estimator 'randon'", "did you mean 'random'"
    ),
    "suite/a claim about no score": wrong('score = "score"', 'score = "mcc"', "claim 'oracle-at-ceiling': there is no evaluator", "it has"),
    "suite/a claim against nothing": wrong('versus = "ceiling"', 'versus = "celing"', "claim 'oracle-at-ceiling': versus", "is a number"),
    "suite/a claim without a bar": wrong('versus = "ceiling"\n', "", r"claim\[0\].versus", "is missing"),
    "suite/unknown preset": Case("run toy.toml --preset big", "no preset 'big'", "the suite has tiny"),
    "suite/nothing left": Case("run two.toml --only other", "--only other leaves no estimator", "runs on other", two_generators),
    # -------------------------------------------------------------------------------------------------------------- names
    "name/command": Case("rum", "No such command 'rum'", rf"Did you mean 'run'|{HELP}"),
    "name/only": Case("run toy.toml --only orakle", "--only orakle", "did you mean 'oracle'"),
    "name/entry of a setting": Case("run toy.toml --set estimator.randon.m=3", "no estimator 'randon'", "did you mean 'random'"),
    "name/setting": Case("run toy.toml --set instanses=3", "no setting 'instanses'", "did you mean 'instances'"),
    "name/parameter": Case("run toy.toml --set estimator.random.mm=3", "has no parameter 'mm'", "did you mean 'm'|it has m"),
    "name/component": wrong(
        "toys:ToyOracle", "topk_sea", r"estimator\[1\].name: there is no estimator 'topk_sea'", "did you mean 'topk_sae'"
    ),
    "name/component in a component": Case(
        "run toy.toml --set estimator.random.marker={use='pac'}", "marker.use: there is no component 'pac'", "testbed list"
    ),
    "name/component that is no text": Case("run toy.toml --set estimator.random.marker={use=3}", "marker.use", "testbed list"),
    "name/class": Case("check toys:Nothing", "module 'toys' has no class 'Nothing'", "name one that it defines"),
    "name/module": Case("check nowhere.at_all:X", "no module 'nowhere'", "is it installed"),
    "name/not a class": Case("check os:getcwd", "os:getcwd is not a class", "name a class"),
    "name/no component": Case("check broken:Stranger", "broken:Stranger is no component", "derive it from"),
    "name/to check": Case("check sparse_conceps", "no component 'sparse_conceps'", "did you mean 'sparse_concepts'"),
    "name/to sample": Case("sample sparse_conceps --out x.safetensors", "no generator 'sparse_conceps'", "did you mean 'sparse_concepts'"),
    "name/parameter to sample": Case(
        "sample sparse_concepts --set nose=1 --out x.safetensors", "no parameter 'nose'", "did you mean 'noise'"
    ),
    "name/an estimator to sample": Case(
        "sample toys:ToyEstimator --out x.safetensors", "toys:ToyEstimator is a ToyEstimator", "testbed list"
    ),
    "name/to tell assumptions of": Case("assumptions sparse_conceps", "no generator 'sparse_conceps'", "did you mean 'sparse_concepts'"),
    "name/trial to replay": Case("replay out --trial gauss/0/randon/0", "no trial 'gauss/0/randon/0'", f"did you mean '{TRIAL}'"),
    "name/trial to show": Case("show out --trial gauss/0/randon/0", "no trial 'gauss/0/randon/0'", f"did you mean '{TRIAL}'"),
    "name/score": Case(NEEDED.replace("score score", "score scor"), "no score 'scor'", "did you mean 'score'"),
    "name/estimator": Case(NEEDED.replace("oracle", "orakle"), "no estimator 'orakle'", "did you mean 'oracle'"),
    "name/generator": Case(f"{NEEDED} --generator gaus", "no generator 'gaus'", "did you mean 'gauss'"),
    "name/kind to begin": Case("init estimater mine", "'estimater' is no kind of component", "estimator, generator, evaluator"),
    "name/to begin": Case("init estimator Mine", "'Mine' is no name in snake case", "such as nearest_point"),
    "name/kind to list": Case("list estimaters", "'estimaters' is not one of", "'estimators'"),
    "name/truth has no such setting": Case(
        "run toy.toml --preset tiny --only random --set estimator.random.m={truth='colour'}",
        "asks the truth for 'colour'",
        "concepts",
        code=1,
    ),
    # -------------------------------------------------------------------------------------------------------------- types
    "type/instances": wrong("instances = 3", 'instances = "3"', "bad.toml: instances", "valid integer"),
    "type/setting": Case("run toy.toml --set instances=none", "instances", "valid integer"),
    "type/data": wrong("[data]", "data = 3\n[presets.x]", "bad.toml: data", "a table is wanted"),
    "type/text for a number": Case("run toy.toml --set estimator.random.m=many", r"params.m: .* wants int", "not 'many'"),
    "type/truth value for a number": Case("run toy.toml --set estimator.random.m=true", r"params.m: .* wants int", "not True"),
    "type/a broken number for a whole": Case("run toy.toml --set estimator.random.m=2.5", r"params.m: .* wants int", "not 2.5"),
    "type/a date": Case("run toy.toml --set estimator.random.marker=1979-05-27", "marker: a date is no setting", "in quotes"),
    "type/settings off the truth": Case("run toy.toml --set estimator.random.m={truth=[]}", "params.m: write", r'truth = "NAME"'),
    "type/params": Case("run toy.toml --set estimator.random.params=3 --set estimator.random.grid=2", "params", "a table is wanted"),
    "type/a claim's versus": wrong('versus = "ceiling"', "versus = []", r"claim\[0\].versus", "valid|number"),
    "type/rows to sample": Case("sample sparse_concepts --n many --out x.safetensors", "'--n'", "valid integer"),
    "type/seed": Case("assumptions sparse_concepts --seed x", "'--seed'", "valid integer"),
    "type/parameter to sample": Case("sample sparse_concepts --set noise=much --out x.safetensors", "params.noise", "wants float"),
    "type/jobs": Case("run toy.toml --jobs two", "'--jobs'", "valid integer"),
    "type/device": Case("run toy.toml --device tpu", "'--device'.*'tpu'", "'cpu'"),
    "type/difference": Case(NEEDED.replace(".02", "small"), "'--difference'", "valid (float|number)"),
    # ------------------------------------------------------------------------------------------------------------- shapes
    "shape/codes of too few rows": Case(
        "run toy.toml --preset tiny --only random --set estimator.random.trouble=short",
        "estimator random: encode gave",
        "they must be",
        code=1,
    ),
    "shape/codes of three axes": plugin(
        "ToyEstimator",
        "    def encode(self, x):\n        return torch.zeros(len(x), 2, 2)",
        "estimator random: encode gave",
        "they must be",
    ),
    "shape/codes of one axis": plugin(
        "ToyEstimator", "    def encode(self, x):\n        return [0.0] * len(x)", "estimator random: encode gave", "they must be"
    ),
    "shape/latents of other levels": plugin(
        "ToyGenerator",
        "    def draw(self, seed):\n        made = super().draw(seed)\n        block = made.block\n"
        "        made.block = lambda seed: Sample(block(seed).observed, {})\n        return made",
        r"generator gauss: latents of levels \[\]",
        "its truth has 1 levels",
    ),
    "shape/views of different rows": plugin(
        "ToyGenerator",
        "    def draw(self, seed):\n        made = super().draw(seed)\n"
        "        made.block = lambda seed: Sample(Observed({'x': View(torch.zeros(4, 2)), 'y': View(torch.zeros(3, 2))}), {})\n"
        "        return made",
        "views and row table",
        "must have the same number of rows",
    ),
    "shape/a draw that is none": plugin(
        "ToyGenerator", "    def draw(self, seed):\n        return 3", "mine:Mine.draw gave a int", "see testbed"
    ),
    "shape/a score that is none": plugin(
        "ToyScore", "    def score(self, outcome, *, seed):\n        return 1.0", "evaluator score: score gave a float", "return testbed"
    ),
    "shape/levels": Case("sample sparse_concepts --set levels=[[4]] --out x.safetensors", "params.levels", "wants"),
    "shape/constituents": Case(
        "sample discrete_hierarchy --set constituents=[[[0,5]],[[0,1],[2,3]]] --out x.safetensors", "constituent", "numbered 0 to 1"
    ),
    "shape/codes on disk": record(
        "encode",
        lambda data: data["result"].update(codes="3"),
        "verify out",
        "record.json is not what a stage encode leaves",
        "--repair",
        1,
    ),
    "shape/one estimator of two": Case(NEEDED.replace("oracle random", "oracle"), "Missing option '--difference'", HELP),
    # ------------------------------------------------------------------------------------------------------------- values
    "value/no instance": wrong("instances = 3", "instances = 0", "bad.toml: instances", "greater than or equal to 1"),
    "value/no rows": Case("run toy.toml --set data.train=0", "data.train", "greater than or equal to 1"),
    "value/seconds without end": wrong("instances = 3", "seconds = inf", "bad.toml: seconds", "finite"),
    "value/NaN": Case("run toy.toml --set generator.gauss.noise=nan", "noise", "not a finite number"),
    "value/NaN in a list": Case("sample sparse_concepts --set levels=[nan] --out x.safetensors", "params.levels", "wants|finite"),
    "value/threads": Case("run toy.toml --set threads=100000", "threads", "less than or equal to 1024"),
    "value/jobs": Case("run toy.toml --jobs 0", "--jobs 0", "at least one job"),
    "value/rows to sample": Case("sample sparse_concepts --n 0 --out x.safetensors", "'--n'", "x>=1|greater than or equal to 1"),
    "value/noise": Case("sample sparse_concepts --set noise=-1.0 --out x.safetensors", "noise", "must be|at least"),
    "value/rate": Case("assumptions sparse_concepts --set composite_rate=0.99", "cannot fire at rate 0.99", "change composite_rate"),
    "value/no difference": Case(NEEDED.replace(".02", "0"), "a difference of 0", "give its size"),
    "value/a difference that is no number": Case(NEEDED.replace(".02", "nan"), "a difference of nan", "give its size"),
    "value/power": Case(f"{NEEDED} --power 1.5", "power 1.5", "0 < alpha < power < 1"),
    "value/alpha": Case(f"{NEEDED} --alpha nan", "alpha nan", "0 < alpha < power < 1"),
    "value/rows that are NaN": wrong("ToyGenerator", "NanGenerator", "view 'x' holds NaN", "generator gauss", 1),
    "value/codes that are NaN": Case(
        "run toy.toml --preset tiny --only random --set estimator.random.trouble='nan'",
        "random: encode gave NaN",
        "check its training",
        code=1,
    ),
    "value/a score that is NaN": plugin(
        "ToyScore",
        "    def score(self, outcome, *, seed):\n        return Scores(float('nan'))",
        "evaluator score: value is nan",
        "NotApplicable",
    ),
    "value/a fit that fails": Case(
        "run toy.toml --preset tiny --only random --set estimator.random.trouble=raise",
        "the toy refuses to fit",
        "tried again by the next",
        code=1,
    ),
    "value/a fit that leaves": plugin(
        "ToyEstimator", "    def fit(self, data, *, seed):\n        sys.exit(0)", "failed gauss/0/random/0", "tried again by the next run"
    ),
    "value/a package that is not there": plugin(
        "ToyEstimator", "    environment = ('no-such-package-at-all',)", "needs the package 'no-such-package-at-all'", "pip install", 2
    ),
    "value/a component that leaves while it is checked": Case(
        "check mine:Mine", "mine:Mine breaks its contract", "SystemExit", leaves_when_fitted, 1
    ),
    "value/a setting of no text": Case("run toy.toml --set estimator.random.marker=\udcff", "marker", "no text in UTF-8"),
    "value/a generator that fails": plugin(
        "ToyGenerator", "    def draw(self, seed):\n        raise RuntimeError('no')", "RuntimeError: no", "tried again by the next run"
    ),
    # -------------------------------------------------------------------------------------------------------------- files
    "file/no run to report": Case("report nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run to judge": Case("claims .", "holds no run", "give the folder that"),
    "file/no run to show": Case("show nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run to verify": Case("verify nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run to replay": Case(f"replay nowhere --trial {TRIAL}", "nowhere holds no run", "give the folder that"),
    "file/no run to clean": Case("gc nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run to compare": Case("diff out nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run to export": Case("export nowhere", "nowhere holds no run", "give the folder that"),
    "file/no run as a pilot": Case(NEEDED.replace("out", "nowhere"), "nowhere holds no run", "give the folder that"),
    "file/a file for a run": Case("report toy.toml", "toy.toml holds no run", "give the folder that"),
    "file/run.json that is none": content("out/run.json", b"{", "report out", "run.json cannot be read", "run the suite again"),
    "file/run.json of NaN": content("out/run.json", b'{"schema": NaN}', "claims out", "run.json cannot be read", "run the suite again"),
    "file/run.json without end": content("out/run.json", b"[" * 10**5, "show out", "run.json cannot be read", "run the suite again"),
    "file/run.json of another version": content("out/run.json", b'{"schema": 9}', "export out", "another version", "run the suite again"),
    "file/run.json without trials": run_json(lambda run: run.pop("trials") and None, "gc out", "trials: field required"),
    "file/run.json of other trials": run_json(lambda run: run["trials"][0].update(generator=3), "diff out out", r"trials\[0\].generator"),
    "file/run.json that leads elsewhere": run_json(lambda run: run["trials"][0].update(fit="../../x"), "report out", r"trials\[0\].fit"),
    "file/run.json of another suite": run_json(lambda run: run["suite"].update(name=""), f"replay out --trial {TRIAL}", "suite.name"),
    "file/claims.json that is none": content(
        "bench/claims.json", b'[{"id": 1}]', "claims bench", "claims.json is not a list", "write it anew"
    ),
    "file/a score that is text": record(
        "score", lambda data: data["result"].update(value="high"), "report out", "record.json is not what a stage score leaves", "run again"
    ),
    "file/damage": Case("verify out", r"codes.safetensors has .* bytes", "--repair", damaged, 1),
    "file/stages to replay into": Case(f"replay out --trial {TRIAL} --out out", "--out out holds stages already", "give a new folder"),
    "file/a file to run into": Case("run toy.toml --out toys.py", "toys.py cannot be written to", "choose another --out"),
    "file/a file to export into": Case("export out --out toys.py", "toys.py", "give another place"),
    "file/a file to sample into": Case("sample toys:ToyGenerator --out toys.py/x.safetensors", "toys.py", "give another place"),
    "file/a format to sample into": Case("sample sparse_concepts --out x.npz", "--out x.npz", "must end in .safetensors"),
    "file/a package that is there": Case(
        "init estimator mine", "mine is there already", "choose another name", lambda: Path("mine").mkdir()
    ),
    "file/a file to begin in": Case("init estimator mine --out toys.py", "toys.py/mine", "give another place"),
    "file/a module with an error": Case("run toy.toml", "toys.py, line 1", "no Python", syntax_error),
    "file/a module that leaves": Case("check mine:X", "mine:X cannot be imported", "mend its module", exits),
    "file/a text that is not there": Case(
        "sample language_model --set text=['no/such.txt'] --out x.safetensors",
        "params.text: there is no file or folder",
        "give one that is there",
    ),
    "file/a name that is too long": Case(f"run {'x' * 5000}", "suite 'xxx", "give a file or a folder"),
    # -------------------------------------------------------------------------------------------------------------- flags
    "flag/unknown": Case("run toy.toml --presets tiny", "No such option", "--preset"),
    "flag/no suite": Case("run", "Missing argument 'SUITE'", HELP),
    "flag/no folder": Case("report", "Missing argument 'DIR'", HELP),
    "flag/no second folder": Case("diff out", "Missing argument 'B'", HELP),
    "flag/no trial": Case("replay out", "Missing option '--trial'", HELP),
    "flag/no file": Case("sample sparse_concepts", "Missing option '--out'", HELP),
    "flag/without a value": Case("run toy.toml --preset", "'--preset'", "requires an argument"),
    "flag/a setting without a value": Case("run toy.toml --set instances", "--set instances", "write it as key=value"),
    "flag/a setting without a key": Case("run toy.toml --set =3", "--set =3", "write it as key=value"),
    "flag/a setting that is a comment": Case("run toy.toml --set #=3", "--set #=3", "not a dotted key"),
    "flag/a setting of a whole kind": Case("run toy.toml --set estimator=3", "no setting 'estimator'", "estimator.LABEL.PARAMETER"),
    "flag/a setting of two parameters": Case("check toys:ToyEstimator --set a.b=1", "--set a.b=1", "name one parameter"),
    "flag/too many arguments": Case("list suites models", r"unexpected extra argument.*models", HELP),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run of the toy suite."""
    folder = tmp_path_factory.mktemp("finished")
    for file in (Path(__file__).parent / "toys").glob("toy*"):
        shutil.copy(file, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        sys.modules.pop("toys", None)
        assert typed(patch, "run", "toy.toml", "--preset", "tiny", "--out", "out") == 0
        sys.modules.pop("toys", None)
    return folder / "out"


@pytest.fixture
def place(toys, finished, monkeypatch):
    """A working folder with the toys and a finished run of theirs; nothing of another test's is remembered."""
    from testbed import stages

    shutil.copytree(finished, "out")
    monkeypatch.setenv("COLUMNS", "200")
    for known in (stages._instance, stages._sample):
        known.cache_clear()
    stages._made.clear()
    sys.modules.pop("mine", None)
    yield toys
    sys.modules.pop("mine", None)


def typed(patch, *arguments):
    """The exit code of ``testbed ARGUMENTS``; what is no bad input is raised as a user would see its traceback."""
    patch.setattr(sys, "argv", ["testbed", *arguments])
    patch.setattr(cli._Debug, "on", False)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def unwrapped(text):
    """What was printed as one line, without the boxes and colours of usage errors."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_in_one_sentence_with_the_place_and_the_remedy(name, place, monkeypatch, capsys):
    case = CASES[name]
    case.spoil()
    code = typed(monkeypatch, *case.arguments)
    said = capsys.readouterr()
    everything = unwrapped(said.out + said.err)
    assert code == case.code, everything
    assert re.search(case.place, everything), everything
    assert re.search(case.remedy, everything), everything
    assert "Traceback" not in everything
    if code == 2:
        assert not Path("runs").exists()
        assert said.out == ""
        lines = said.err.splitlines()
        assert len(lines) == 1 or not lines[0].startswith("Error: ")  # what is wrong about flags is said in a box


def test_the_table_has_every_group_and_every_command():
    assert len(CASES) >= 60
    assert {name.partition("/")[0] for name in CASES} == set(GROUPS)
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert commands <= {case.arguments[0] for case in CASES.values()}


def test_with_debug_the_error_comes_with_its_traceback(place, monkeypatch):
    with pytest.raises(InvalidInput, match="did you mean 'quick'"):
        typed(monkeypatch, "--debug", "run", "quikc")
    CASES["file/run.json without trials"].spoil()
    with pytest.raises(InvalidInput, match="trials: field required"):
        typed(monkeypatch, "--debug", "report", "out")
