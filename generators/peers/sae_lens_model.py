"""SAELens's own generator, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from generators.peers.gated_instance import gated_truth
from generators.peers.gated_law import GatedLaw, check_shape
from generators.peers.synth_sae_bench import SynthSAEBench
from generators.selection.sparse_truth import SparseTruth
from testbed.contracts import BLOCK, BlockInstance, Instance, InvalidInput, Observed, Sample, Shows, SparseRows, View, seed_of


class SAELensModel(SynthSAEBench):
    """`SynthSAEBench` drawn and sampled by SAELens itself: to check one against the other, and to have exactly theirs.

    Same parameters. Needs the package ``sae-lens``. Rows are theirs to the bit for the seeds that this testbed hands them; the truth is
    read off their model (dictionary, bias, firing probabilities, loadings, who is exclusive), and its rates are computed as
    `SynthSAEBench`'s are. Samples on the CPU, and needs dense (4096, n) arrays: slow and wide, a reference.

    References
    ----------
    .. [1] SAELens, https://github.com/decoderesearch/SAELens, module ``sae_lens.synthetic``.
    """

    environment: ClassVar[tuple[str, ...]] = ("sae-lens",)

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        """Let SAELens draw its model.

        Raises
        ------
        InvalidInput
            If sae-lens is not installed, or a parameter is out of range.
        """
        check_shape(self.concepts, self.roots, self.branching, self.depth)
        self._check()
        try:
            theirs = importlib.import_module("sae_lens.synthetic")
        except ImportError as error:
            raise InvalidInput(
                f"SAELensModel needs the package sae-lens, which cannot be imported ({error}): install it (pip install sae-lens), "
                "or take SynthSAEBench, which draws from the same law"
            ) from error
        with _their_randomness(seed_of("saelens", seed)):
            model = theirs.SyntheticModel(configuration(self, theirs, seed_of("saelens", seed) % 2**31))
        law = law_of(self, model)
        generator = model.activation_generator
        mean, spread = (m.double() for m in (generator.mean_firing_magnitudes, generator.std_firing_magnitudes))
        atoms, bias = model.feature_dict.feature_vectors.detach(), model.feature_dict.bias.detach()
        return SAELensInstance(gated_truth(law, atoms, bias, mean, spread, seed), law, model)


def configuration(spec: SynthSAEBench, theirs: Any, seed: int) -> Any:
    """Their configuration of a specification of ours."""
    hierarchy = theirs.HierarchyConfig(
        total_root_nodes=spec.roots or 1,
        branching_factor=spec.branching,
        max_depth=spec.depth,
        mutually_exclusive_portion=spec.exclusive,
        compensate_probabilities=spec.compensate,
        scale_children_by_parent=spec.scaled,
    )
    correlation = theirs.LowRankCorrelationConfig(rank=max(1, spec.correlation_rank), correlation_scale=spec.correlation_scale)
    spread: Any = spec.spread
    if spec.spread_spread:
        spread = theirs.FoldedNormalMagnitudeConfig(mean=spec.spread, std=spec.spread_spread)
    return theirs.SyntheticModelConfig(
        num_features=spec.concepts,
        hidden_dim=spec.dimension,
        firing_probability=theirs.ZipfianFiringProbabilityConfig(exponent=spec.zipf, max_prob=spec.rate, min_prob=spec.rate_floor),
        hierarchy=hierarchy if spec.roots else None,
        orthogonalization=theirs.OrthogonalizationConfig(num_steps=spec.orthogonal_steps, lr=spec.orthogonal_rate)
        if spec.orthogonal_steps
        else None,
        correlation=correlation if spec.correlation_rank else None,
        mean_firing_magnitudes=theirs.LinearMagnitudeConfig(start=spec.magnitude_first, end=spec.magnitude_last),
        std_firing_magnitudes=spread,
        bias=spec.bias or False,
        seed=seed,
    )


def law_of(spec: SynthSAEBench, model: Any) -> GatedLaw:
    """What their model says of who may fire, and when."""
    generator = model.activation_generator
    mean, spread = generator.mean_firing_magnitudes.double(), generator.std_firing_magnitudes.double()
    loadings = torch.zeros(spec.concepts, 0, dtype=torch.float64)
    if model.correlation_matrix is not None:
        loadings = model.correlation_matrix.correlation_factor.double()
    parents = spec.roots * sum(spec.branching**g for g in range(spec.depth))
    exclusive = torch.zeros(parents, dtype=torch.bool)
    nodes = list(model.hierarchy.roots) if model.hierarchy is not None else []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.children:
            exclusive[node.feature_index] = node.mutually_exclusive_children
    return GatedLaw(
        roots=spec.roots,
        branching=spec.branching,
        depth=spec.depth,
        concepts=spec.concepts,
        exclusive=exclusive,
        fire=generator.firing_probabilities.double(),
        keep=torch.special.ndtr(mean / spread),
        loadings=loadings,
    )


@contextmanager
def _their_randomness(seed: int) -> Iterator[None]:
    """SAELens draws from torch's global generator: seed it, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class SAELensInstance(BlockInstance):
    """A model of SAELens, sampled in blocks."""

    def __init__(self, truth: SparseTruth, law: GatedLaw, model: Any) -> None:
        self.truth: SparseTruth = replace(truth, facts={**truth.facts, "sampler": "sae-lens"})
        self.law = law
        self.model = model

    def block(self, seed: int) -> Sample:
        with torch.no_grad(), _their_randomness(seed_of("saelens", seed)):
            x, values = self.model.sample_with_features(BLOCK)
        pieces: tuple[Tensor, ...] = torch.split(values, list(self.law.sizes), dim=1)
        latents = {level: SparseRows.from_dense(piece).to(self.device) for level, piece in enumerate(pieces)}
        shows = Shows(tuple(range(len(self.truth.levels))), noise=0.0)
        return Sample(Observed({"mixed": View(x.to(self.device), shows)}), latents)
