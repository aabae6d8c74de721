"""Agreement of graphs: names do not matter, directions and missing codes do."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES
from evaluators.stability.graph_agreement import GraphAgreement
from testbed.contracts import InvalidInput, NotApplicable, Structure

TREE = ((3, 4), (4, 5), (6, 7), (), (), (), (), ())


def score(*outcomes):
    return GraphAgreement().score(list(outcomes), seed=0)


def with_graph(outcome, constituents, order=None):
    """An outcome whose codes are in another order, its graph renamed with them."""
    if order is not None:
        place = {old: new for new, old in enumerate(order)}
        renamed = [()] * len(order)
        for composite, parts in enumerate(constituents):
            renamed[place[composite]] = tuple(place[j] for j in parts)
        outcome, constituents = replace(outcome, codes=outcome.codes[:, order]), tuple(renamed)
    return replace(outcome, structure=Structure((0,) * len(constituents), tuple(constituents)))


def test_the_same_graph_under_other_names_agrees(perfect):
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0)).tolist()
    assert score(with_graph(perfect, TREE), with_graph(perfect, TREE, order)).value == pytest.approx(1.0)


def test_f1_of_edges(perfect):
    four = ((3, 4), (4, 7), (), (), (), (), (), ())  # three of its four edges are among the six
    assert score(with_graph(perfect, TREE), with_graph(perfect, four)).value == pytest.approx(2 * 3 / (6 + 4))


def test_a_turned_edge_is_another_edge(perfect):
    turned = ((), (), (), (0,), (0, 1), (1,), (2,), (2,))
    assert score(with_graph(perfect, TREE), with_graph(perfect, turned)).value == 0.0


def test_edges_of_codes_without_partner_are_missed(perfect):
    silent = replace(perfect, codes=perfect.codes.clone())
    silent.codes[:, 7] = 0
    assert score(with_graph(perfect, TREE), with_graph(silent, TREE)).value == pytest.approx(2 * 5 / 12)
    fewer = replace(perfect, codes=perfect.codes[:, :7], dictionary=None)
    assert score(with_graph(perfect, TREE), with_graph(fewer, (*TREE[:2], (6,), (), (), (), ()))).value == pytest.approx(2 * 5 / 11)


def test_pairs_without_an_edge_are_left_out(perfect):
    empty = with_graph(perfect, ((),) * 8)
    assert score(with_graph(perfect, TREE), with_graph(perfect, TREE), empty).value == pytest.approx(1 / 3)
    assert score(with_graph(perfect, TREE), empty, empty).value == 0.0
    with pytest.raises(NotApplicable, match="no fit found an edge"):
        score(empty, empty)


def test_codes_of_permuted_rows_agree_by_chance(perfect):
    tree = with_graph(perfect, TREE)
    found = [score(*(PERMUTED_CODES.make(tree, 2 * i + j) for j in (0, 1))).value for i in range(30)]
    assert sum(found) / 30 == pytest.approx(6 / 56, abs=0.06)  # six of the 56 ordered pairs are edges


def test_errors(perfect):
    with pytest.raises(NotApplicable, match="no graph"):
        score(perfect, with_graph(perfect, TREE))
    with pytest.raises(NotApplicable, match="at least 2"):
        score(with_graph(perfect, TREE))
    with pytest.raises(InvalidInput, match="3 codes"):
        score(*[replace(perfect, structure=Structure((0,) * 3, ((),) * 3))] * 2)
