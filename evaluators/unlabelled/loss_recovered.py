"""How much of a model's prediction survives when its activations are replaced by their reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from evaluators.calibration import checked_codes
from testbed.contracts import Evaluator, Instance, InvalidInput, NotApplicable, Observed, Outcome, Patchable, Scores, Shows, View

Key = tuple[Any, ...]
Losses = tuple[Tensor, Tensor, Tensor]

_known: WeakKeyDictionary[Instance, dict[Key, Losses]] = WeakKeyDictionary()
"""Clean and ablated losses of the rows asked for last, per living instance: they are the same for every estimator."""


class LossRecovered(Evaluator):
    r"""Cross-entropy that reconstructed activations recover, of what replacing them by a constant loses [1]_.

    .. math:: \frac{\mathrm{CE}_{\mathrm{ablated}} - \mathrm{CE}_{\mathrm{patched}}}
                   {\mathrm{CE}_{\mathrm{ablated}} - \mathrm{CE}_{\mathrm{clean}}}

    CE is the mean over the first rows of the held-out part of the cross-entropy, in nats, of the token after each row: of the model as
    it is (clean), with the rows' activations x replaced by decode(encode(x)) (patched), and by a constant (ablated). A reconstruction
    that changes nothing scores 1, the constant itself 0, a worse one less than 0.

    The group of document g scores its own difference against the common denominator, where R_g are its rows:

    .. math:: \frac{\frac{1}{|R_g|} \sum_{i \in R_g} (\ell_i^{\mathrm{ablated}} - \ell_i^{\mathrm{patched}})}
                   {\mathrm{CE}_{\mathrm{ablated}} - \mathrm{CE}_{\mathrm{clean}}}

    so that the mean of the groups, weighted by their rows (``details["rows"]``), is the headline value.

    Parameters
    ----------
    rows : int
        Held-out rows to run the model on; all there are, if there are fewer.
    ablation : {"mean", "zero"}
        The constant: the mean of the held-out activations, or 0.

    References
    ----------
    .. [1] Rajamanoharan et al. (2024), Improving dictionary learning with gated sparse autoencoders, section 2.3.
    """

    direction: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    equivalence: ClassVar[str] = "any change of the codes that leaves their decoded reconstruction alone"
    invariances: ClassVar[tuple[str, ...]] = ("affine",)
    chance: ClassVar[float | None] = 0.0
    ceiling: ClassVar[float | None] = 1.0

    def __init__(self, rows: int = 2048, ablation: Literal["mean", "zero"] = "mean") -> None:
        self.rows = rows
        self.ablation = ablation

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """See `Evaluator.score`; nothing here is random.

        Raises
        ------
        NotApplicable
            If there is no model to run, nothing that encodes and decodes, or the ablation does not raise the loss.
        """
        if self.ablation not in ("mean", "zero"):
            raise InvalidInput(f"ablation {self.ablation!r} is neither 'mean' nor 'zero'")
        if self.rows < 1:
            raise InvalidInput(f"rows {self.rows}: the model must run on at least 1")
        instance = outcome.instance
        if instance is None or not isinstance(instance, Patchable):
            raise NotApplicable("the rows do not come from a model that can be run with its activations replaced")
        if outcome.encode is None or outcome.decode is None:
            raise NotApplicable("the codes come without an encoder and a decoder to run inside the model")
        checked_codes(outcome)
        n = min(self.rows, len(outcome.sample))
        clean, ablated, group = self._references(instance, outcome, n)
        patched, _ = instance.patched_losses(_reconstruction(outcome), outcome.part, n, outcome.seed)
        return _scores(clean, ablated, patched.double(), group)

    def _references(self, instance: Any, outcome: Outcome, n: int) -> Losses:
        """Losses that no estimator changes: clean, ablated, and the document of each row; shape (n,) each."""
        known = _known.setdefault(instance, {})
        key = (outcome.part, outcome.seed, outcome.view, len(outcome.sample), n, self.ablation, instance.device)
        if key not in known:
            values = outcome.sample.observed.views[outcome.view].values
            if not isinstance(values, Tensor):
                raise NotApplicable("sparse rows are not the activations of a model")
            constant = values.mean(dim=0) if self.ablation == "mean" else values.new_zeros(values.shape[1])
            clean, group = instance.patched_losses(None, outcome.part, n, outcome.seed)
            ablated, _ = instance.patched_losses(lambda x: constant.to(x).expand_as(x), outcome.part, n, outcome.seed)
            known.clear()  # one entry: trials of an instance ask for the same rows
            known[key] = (clean.double(), ablated.double(), group)
        return known[key]


def _reconstruction(outcome: Outcome) -> Callable[[Tensor], Tensor]:
    """x -> decode(encode(x)), where the encoder sees what it saw when it was fitted: the view under its name."""
    encode, decode = outcome.encode, outcome.decode
    assert encode is not None
    assert decode is not None
    shown = outcome.sample.observed.views.get(outcome.view)
    shows = shown.shows if shown is not None else Shows()

    def reconstruct(x: Tensor) -> Tensor:
        return torch.as_tensor(decode(encode(Observed({outcome.view: View(x, shows)})))).to(x)

    return reconstruct


def _scores(clean: Tensor, ablated: Tensor, patched: Tensor, group: Tensor) -> Scores:
    means = {"ce_clean": float(clean.mean()), "ce_patched": float(patched.mean()), "ce_ablated": float(ablated.mean())}
    lost = means["ce_ablated"] - means["ce_clean"]
    if not lost > 0:
        raise NotApplicable(
            f"replacing the activations by a constant does not raise the loss ({means['ce_clean']:.4f} to {means['ce_ablated']:.4f} "
            "nats): there is nothing to recover"
        )
    documents, place, rows = torch.unique(group, return_inverse=True, return_counts=True)
    gained = torch.zeros(len(documents), dtype=torch.float64).index_add_(0, place, ablated - patched) / rows / lost
    names = [str(document) for document in documents.tolist()]
    return Scores(
        (means["ce_ablated"] - means["ce_patched"]) / lost,
        parts=means,
        groups=dict(zip(names, gained.tolist(), strict=True)),
        details={"rows": dict(zip(names, rows.tolist(), strict=True))},
    )
