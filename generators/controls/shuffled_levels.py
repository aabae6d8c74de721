"""The same rows, with a truth whose levels are wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from generators.controls.instances import VIEWS, concept_entropies, control_world
from generators.controls.settings import checked
from generators.selection.sparse import SparseConcepts, SparseInstance
from generators.selection.sparse_truth import SparseTruth
from testbed.contracts import Instance, InvalidInput, Sample, Setting, SparseRows, seed_of


class ShuffledLevels(SparseConcepts):
    """`SparseConcepts` with the labels of all concepts dealt out anew: level and place are drawn at random.

    Rows of the view are those of the selected instance drawn with the same seeds. Latents, dictionary and rates carry the new labels, and
    agree with each other; ``truth.constituents`` is the selected skeleton read with the new labels, so levels and edges are *wrong on
    purpose* (``facts["wrong_levels"]``). ``facts["concept_of_label"]`` says which concept, numbered level by level, each label stands for.
    A score that hangs on levels or edges must fall to its chance level here; one that does not must stay as it was.

    Only for ``views="mixed"``: a view of one level would give the true levels away.

    Source: the shuffled graph that reviewers of Kong et al. (arXiv 2512.10720) asked to compare with.
    """

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        if self.views != "mixed":
            raise InvalidInput(
                f"labels can be shuffled only where one view shows all levels, not with views={self.views!r}: set views='mixed'"
            )
        selected = super().draw(seed)
        concepts = sum(level.size for level in selected.truth.levels)
        order = torch.randperm(concepts, generator=torch.Generator().manual_seed(seed_of("labels", seed)))
        return ShuffledInstance(selected, order)


class ShuffledInstance(Instance):
    """A selected instance under other labels; label c stands for concept ``order[c]``."""

    def __init__(self, selected: SparseInstance, order: Tensor) -> None:
        self._selected, self._order = selected, order
        self._label = order.argsort()
        truth = selected.truth
        sizes = [level.size for level in truth.levels]

        def relabelled(values: dict[int, Tensor]) -> dict[int, Tensor]:
            return dict(enumerate(torch.split(torch.cat([values[level] for level in range(len(sizes))])[order], sizes)))

        rates = relabelled(dict(truth.rates))
        kept = {key: value for key, value in truth.facts.items() if key == "magnitude" or key.startswith(VIEWS)}
        kept |= {key: truth.facts[key] for key in ("entropy", "intervention") if key in truth.facts}
        wrong = {"wrong_levels": True, "concept_of_label": order, **concept_entropies(rates)}
        l0 = {f"l0_level_{level}": float(r.sum()) for level, r in rates.items()}
        self.truth: SparseTruth = replace(
            truth,
            dictionaries={view: relabelled(dict(levels)) for view, levels in truth.dictionaries.items()},
            rates=rates,
            settings={**truth.settings, **l0},
            facts=kept | wrong,
        )

    def to(self, device: str) -> ShuffledInstance:
        other = super().to(device)
        other._selected = self._selected.to(device)
        return other

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        sizes = [level.size for level in self.truth.levels]
        for sample in self._selected.chunks(seed, part, start):
            yield Sample(sample.observed, dict(enumerate(_relabelled(sample, sizes, self._label))))

    def condition(self, setting: Setting) -> ShuffledInstance:
        """As of the concepts that the labels stand for; so are the other two."""
        return ShuffledInstance(self._selected.condition(self._meant(setting)), self._order)

    def do_then_select(self, setting: Setting) -> ShuffledInstance:
        return ShuffledInstance(self._selected.do_then_select(self._meant(setting)), self._order)

    def select_then_do(self, setting: Setting) -> ShuffledInstance:
        return ShuffledInstance(self._selected.select_then_do(self._meant(setting)), self._order)

    def _meant(self, setting: Setting) -> Setting:
        """The setting by concept instead of by label."""
        forest = self._selected.world.forest
        concept = {}
        for (level, i), value in checked(setting, forest.sizes).items():
            node = int(self._order[forest.start(level) + i])
            of = max(at for at in range(len(forest.sizes)) if forest.start(at) <= node)
            concept[of, node - forest.start(of)] = value
        return concept

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays, plain = self._selected.state()
        return {**arrays, "order": self._order}, {"world": plain}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> ShuffledInstance:
        world, _, _ = control_world(arrays, {"done": [], "given": [], **plain})
        order, concepts = arrays.get("order"), len(world.tilts)
        if order is None or order.dtype != torch.int64 or not torch.equal(order.sort().values, torch.arange(concepts)):
            raise InvalidInput(f"the saved control lacks an order of its {concepts} labels: save it again")
        return cls(SparseInstance.of(world), order)


def _relabelled(sample: Sample, sizes: list[int], label: Tensor) -> list[SparseRows]:
    """Sparse rows by level under other labels; `label` maps a concept, numbered level by level, to its label."""
    rows, columns, values, start = [], [], [], 0
    for level, size in enumerate(sizes):
        latents = sample.latents[level]
        assert isinstance(latents, SparseRows)
        rows.append(latents.row_of_entry())
        columns.append(label.to(latents.indices.device)[latents.indices + start])
        values.append(latents.values)
        start += size
    row, column, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    order = (row * start + column).argsort()
    row, column, value = row[order], column[order], value[order]
    out, first = [], 0
    for size in sizes:
        here = (column >= first) & (column < first + size)
        out.append(SparseRows.from_entries(row[here], column[here] - first, value[here], (len(sample), size)))
        first += size
    return out
