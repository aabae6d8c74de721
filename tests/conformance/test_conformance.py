"""The checks pass for everything built in, and name what broken components break."""

import pytest

from testbed.conformance import check_component
from testbed.contracts import InvalidInput
from testbed.registry import BUILT_IN

EVERY = [name for names in BUILT_IN.values() for name in names]


@pytest.mark.parametrize("name", EVERY)
def test_everything_built_in_keeps_its_contract(name):
    assert [check.problem for check in check_component(name) if check.problem] == []


def test_a_component_of_ones_own_that_breaks_nothing_passes(toys):
    assert [check.problem for check in check_component("broken:Fine", {"m": 4}) if check.problem] == []


@pytest.mark.parametrize(
    ("name", "promise", "reason"),
    [
        ("ComputesInInit", "constructor only stores", "__init__ also sets width"),
        ("GlobalRandomness", "global randomness", "draws from torch's global generator"),
        ("DependsOnBatch", "row by row", "depend on the rows encoded with it"),
        ("AcceptsNan", "NaN", "accepted in silence"),
        ("ForgetsState", "fit returns", "fit sets offset: names of what is learned end in _"),
        ("NotAPrefix", "beginning of every longer one", "differ"),
        ("WrongRates", "realised rates", "standard errors more or less often than its stated rate"),
        ("ClaimsTooMuch", "invariances that it claims", "(monotone) moves it from"),
        ("UnknownClass", "are declared", "invariances name rescaling: use permutation, sign"),
        ("LooksAtMarginals", "codes without content stay near chance", "they hold nothing, so it rewards something else"),
        ("RewardsSilence", "codes without content stay near chance", "codes that never fire score 1.0000"),
        ("FallsShort", "perfect codes reach the ceiling", "to ceiling 2.0000"),
        ("DividesByZero", "constant and tied codes", "give a finite number, or raise NotApplicable"),
        ("NeedsRows", "few rows", "1 rows (sparse) end in IndexError"),
        ("ReadsDenseOnly", "SparseRows and dense", "as a dense tensor and"),
        ("SkipsInfinity", "NaN, infinity", "inf in codes"),
        ("CutsRows", "other rows are refused", "a row of codes less than rows of data (sparse) is accepted in silence"),
        ("ChangesCodes", "nothing is changed", "copy them first"),
        ("SecretlyReal", "kinds of concept", "it scores real concepts"),
        ("NotJson", "details that are JSON", "not JSON serializable"),
    ],
)
def test_a_broken_component_is_told_what_it_breaks(toys, name, promise, reason):
    problems = [check.problem for check in check_component(f"broken:{name}") if check.problem]
    assert any(promise in problem and reason in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken:Unfinished", "does not define score, which every evaluator needs"),
        ("broken:Stranger", "is no component: derive it"),
        ("broken:Nobody", "has no class 'Nobody'"),
        ("topk_sea", "did you mean 'topk_sae'"),
    ],
)
def test_what_is_no_component_is_said_at_once(toys, name, message):
    with pytest.raises(InvalidInput, match=message):
        check_component(name)


def test_parameters_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="cannot be constructed"):
        check_component("pca", {"no_such": 1})
