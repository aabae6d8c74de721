"""Sparse autoencoders part of which stays as it started: what does training that part add?"""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import normalize

from testbed.estimators.sparse.autoencoder import Params, require
from testbed.estimators.sparse.topk_sae import TopKSAE


@dataclass(kw_only=True, eq=False, repr=False)
class FrozenDecoderSAE(TopKSAE):
    """TopK autoencoder with a random dictionary that is never moved: only the encoder learns [1]_.

    References
    ----------
    .. [1] Sanity checks for sparse autoencoders (arXiv 2602.14111).
    """

    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen(), "decoder")


@dataclass(kw_only=True, eq=False, repr=False)
class SoftFrozenDecoderSAE(TopKSAE):
    """TopK autoencoder whose atoms stay within a cosine of where they started [1]_.

    Parameters
    ----------
    cosine : float in [0, 1)
        Least cosine of an atom with its start.
    **others
        See `TopKSAE`.

    References
    ----------
    .. [1] Sanity checks for sparse autoencoders (arXiv 2602.14111).
    """

    cosine: float = 0.8
    revival: str = "none"  # type: ignore[assignment]  # pointing an atom elsewhere is what is forbidden

    def check(self) -> None:
        super().check()
        require(0 <= self.cosine < 1, f"cosine must lie in [0, 1), not be {self.cosine}")
        require(self.revival == "none", "atoms that must stay near their start cannot be revived elsewhere: leave revival at 'none'")

    def projects(self) -> bool:
        return True

    def project(self, params: Params, start: Params) -> None:
        super().project(params, start)
        atoms, first = params["decoder"], start["decoder"]
        along = (atoms * first).sum(dim=-1, keepdim=True)
        aside = normalize(atoms - along * first, dim=-1)
        edge = self.cosine * first + (1 - self.cosine**2) ** 0.5 * aside
        atoms.copy_(edge.where(along < self.cosine, atoms))


@dataclass(kw_only=True, eq=False, repr=False)
class FrozenEncoderSAE(TopKSAE):
    """TopK autoencoder with a random encoder that is never moved: only the dictionary learns [1]_.

    References
    ----------
    .. [1] Sanity checks for sparse autoencoders (arXiv 2602.14111).
    """

    def frozen(self) -> tuple[str, ...]:
        return (*super().frozen(), "encoder", "encoder_bias")
