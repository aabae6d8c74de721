"""Codes made by hand from a view that shows the concepts themselves: the only fair test of a metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.linalg
import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.decoding import linear_decode


class HandMade(Estimator):
    r"""Codes of a known worth, where the view's coordinates are the concepts, as those of `generators.bare_concepts.BareConcepts` are.

    Most kinds are affine, :math:`a = x M + b`, with a matrix M drawn at `fit`. Noise is a function of the row, by hashing, so that a row
    has the same codes wherever it stands. Concepts are standardised before they are mixed.

    =================== ==============================================================================================================
    kind                codes, and what `amount` is
    =================== ==============================================================================================================
    perfect             the concepts
    permuted_scaled     permuted, times scales of either sign between 1/4 and 4
    monotone_warp       each by an increasing or decreasing map that bends: exp, cube, tanh(2 z), signed square root
    rotation            all mixed by a random rotation
    common_factor       c copies of the first principal component, with noise of `amount` (0.1) of its deviation
    row_permuted        the concepts of another row
    noise               Gaussian; `amount` (1) codes for each concept
    heavy_noise         Student's t with `amount` (1.5) degrees of freedom
    copy_some           the first `amount` (64, at most c) concepts, and no other code
    duplicated          each concept `amount` (2) times
    split               positive and negative part of each, about its mean
    split_by_other      each where the next concept is above its mean, and where it is not
    merged              sums of `amount` (2) concepts
    dead_laden          the concepts, and `amount` (3) codes that are always 0 for each
    rotated_pairs       of half the concepts, pairs rotated by `amount` (45) degrees
    sheared_some        half the concepts, each plus `amount` (1) times one of the other half; the other half as they are
    sheared             each plus `amount` (0.7) times the next
    sign_even           absolute values about the mean
    perfect_heavy       the concepts plus Student's t noise with 2 degrees of freedom, times `amount` (0.05)
    path                the geodesic from the concepts (`amount` 0) to a random rotation of them (1)
    =================== ==============================================================================================================

    Parameters
    ----------
    kind : str
    amount : float or None
        None for the number in parentheses.
    view : str, optional

    Attributes
    ----------
    matrix_ : Tensor, shape (d, m)
    offset_ : Tensor, shape (m,)
    dictionary_ : Tensor, shape (m, d)
        The pseudo-inverse of M; random directions for noise.
    mean_, scale_ : Tensor, shape (d,)
    rows_ : Tensor, shape (r, d)
        Rows of the data to take codes of, for ``row_permuted``.
    salt_ : int
    """

    def __init__(self, kind: str = "perfect", amount: float | None = None, view: str | None = None) -> None:
        self.kind = kind
        self.amount = amount
        self.view = view

    def fit(self, data: Data, *, seed: int) -> HandMade:
        """Take means and deviations from the first 16,384 rows, and draw what is random.

        Raises
        ------
        InvalidInput
            If there is no such kind.
        """
        if self.kind not in KINDS:
            raise InvalidInput(f"there is no kind {self.kind!r} of hand-made codes: {', '.join(KINDS)}")
        x = rows(data, self.view, limit=4 * BLOCK).float()
        self.mean_, scale = x.mean(dim=0), x.std(dim=0, correction=0)
        self.scale_ = torch.where(scale > 0, scale, 1.0)
        self.rows_ = x[:BLOCK] if self.kind == "row_permuted" else x[:0]
        self.salt_ = seed % 2**31
        generator = torch.Generator().manual_seed(seed)
        kind, amount = KINDS[self.kind], self._amount()
        seen = (x - self.mean_) / self.scale_ if kind.standardised else x
        self.matrix_ = kind.matrix(seen, amount, generator).to(x)
        self.offset_ = self.matrix_.new_zeros(self.matrix_.shape[1])
        if kind.standardised:
            self.matrix_ = self.matrix_ / self.scale_[:, None]
            self.offset_ = -self.mean_ @ self.matrix_
        if self.kind in ("noise", "heavy_noise"):
            self.dictionary_ = normalize(torch.randn(self.matrix_.T.shape, generator=generator), dim=1).to(x)
        else:
            self.dictionary_ = torch.linalg.pinv(self.matrix_)
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float()
        if self.kind == "row_permuted":
            return self.rows_[row_keys(x, self.salt_) % len(self.rows_)]
        codes = x @ self.matrix_ + self.offset_
        then = KINDS[self.kind].then
        return codes if then is None else then(codes, (x - self.mean_) / self.scale_, self._amount(), row_keys(x, self.salt_))

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, -self.offset_ @ self.dictionary_)

    def _amount(self) -> float:
        return KINDS[self.kind].amount if self.amount is None else self.amount


# ---------------------------------------------------------------------------------------------------------- what a row decides


def row_keys(x: Tensor, salt: int) -> Tensor:
    """A number in [0, 2**62) that depends on all of a row's entries and on the salt, shape (n,), int64."""
    bits = (x + 0.0).contiguous().view(torch.int32).long()  # + 0.0 makes -0 and 0 one number
    place = torch.arange(1, x.shape[1] + 1, device=x.device) * GOLDEN
    keys: Tensor = _mixed(_mixed(bits + place).sum(dim=1) + salt) & (2**62 - 1)
    return keys


def _mixed(h: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014); products wrap around."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        h = (h ^ ((h >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return h ^ ((h >> 31) & ((1 << 33) - 1))


GOLDEN = -0x61C8864680B583EB


def _uniform(keys: Tensor, columns: int, stream: int) -> Tensor:
    """Uniform values in (0, 1) from the keys of rows, shape (n, columns), float64."""
    counter = torch.arange(1, columns + 1, device=keys.device) + stream * 2**20
    drawn = _mixed(keys[:, None] + counter * GOLDEN)
    return (((drawn >> 11) & (2**53 - 1)).double() + 0.5) / 2**53


def _student(keys: Tensor, columns: int, freedom: float) -> Tensor:
    """Student's t values from the keys of rows, by Bailey's polar formula; Gaussian ones for infinite `freedom`; shape (n, columns)."""
    u, angle = _uniform(keys, columns, 0), 2 * math.pi * _uniform(keys, columns, 1)
    square = -2 * u.log() if math.isinf(freedom) else freedom * (u.pow(-2 / freedom) - 1)
    return (square.sqrt() * angle.cos()).float()


# -------------------------------------------------------------------------------------------------------------- matrices

Matrix = Callable[[Tensor, float, torch.Generator], Tensor]
"""From rows (standardised or not), the amount and a generator to M, shape (d, m)."""


def _eye(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.eye(x.shape[1])


def _times(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.eye(x.shape[1]).repeat(1, round(amount))


def _permuted_scaled(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    order = torch.randperm(d, generator=generator)
    scales = torch.exp2(4 * torch.rand(d, generator=generator) - 2)
    return torch.eye(d)[:, order] * _signs(d, generator) * scales


def _flipped(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.eye(x.shape[1]) * _signs(x.shape[1], generator)


def _rotation(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    q[:, 0] *= torch.linalg.det(q).sign()
    rotation: Tensor = q.float()
    return rotation


def _path(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Planes that the rotation turns, from its real Schur form, each turned by a part of its angle."""
    form, basis = scipy.linalg.schur(_rotation(x, amount, generator).double().numpy(), output="real")
    turned = torch.eye(len(form), dtype=torch.float64)
    for i in range(len(form) - 1):
        if abs(form[i + 1, i]) > 1e-12:
            angle = amount * math.atan2(form[i + 1, i], form[i, i])
            turned[i, i] = turned[i + 1, i + 1] = math.cos(angle)
            turned[i + 1, i], turned[i, i + 1] = math.sin(angle), -math.sin(angle)
    planes = torch.from_numpy(basis)
    whole: Tensor = (planes @ turned @ planes.T).float()
    return whole


def _common(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    value, vector = torch.linalg.eigh(x.double().T @ x.double() / len(x))
    factor: Tensor = (vector[:, -1:] / value[-1].sqrt()).float()
    return factor.repeat(1, x.shape[1])


def _nothing(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.zeros(x.shape[1], round(x.shape[1] * amount))


def _heavy(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.zeros(x.shape[1], x.shape[1])


def _first(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.eye(x.shape[1])[:, : round(amount)]


def _halves(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return torch.cat([torch.eye(x.shape[1]), -torch.eye(x.shape[1])], dim=1)


def _merged(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    code = torch.arange(d) // round(amount)
    return torch.nn.functional.one_hot(code).float()[torch.randperm(d, generator=generator)]


def _dead(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    return torch.cat([torch.eye(d), torch.zeros(d, round(amount) * d)], dim=1)[
        :, torch.randperm(d + round(amount) * d, generator=generator)
    ]


def _rotated_pairs(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d, angle = x.shape[1], math.radians(amount)
    order = torch.randperm(d, generator=generator).tolist()
    matrix = torch.eye(d)
    for i, j in zip(order[: d // 4], order[d // 4 : 2 * (d // 4)], strict=True):
        matrix[i, i] = matrix[j, j] = math.cos(angle)
        matrix[i, j], matrix[j, i] = math.sin(angle), -math.sin(angle)
    return matrix


def _sheared_some(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    order = torch.randperm(d, generator=generator)
    matrix = torch.eye(d)
    matrix[order[d // 2 : 2 * (d // 2)], order[: d // 2]] = amount
    return matrix


def _sheared(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    d = x.shape[1]
    return torch.eye(d) + amount * torch.eye(d).roll(1, dims=1)


def _signs(d: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, (d,), generator=generator) - 1


# ---------------------------------------------------------------------------------------------------- what is done to codes

Then = Callable[[Tensor, Tensor, float, Tensor], Tensor]
"""From affine codes (n, m), standardised rows (n, d), the amount and the rows' keys (n,) to codes."""


def _bent(codes: Tensor) -> Tensor:
    """Four increasing maps in turn, of codes that are concepts of either sign."""
    maps: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.exp,
        lambda t: t**3,
        lambda t: torch.tanh(2 * t),
        lambda t: t.sign() * t.abs().sqrt(),
    )
    return torch.stack([maps[i % len(maps)](column) for i, column in enumerate(codes.T)], dim=1)


def _gated(codes: Tensor, z: Tensor) -> Tensor:
    """Each concept on one code where the next concept is above its mean, on another where it is not."""
    above = (z > 0).roll(-1, dims=1).to(codes)
    return codes * torch.cat([above, 1 - above], dim=1)


@dataclass(frozen=True)
class Kind:
    """One kind of codes: the matrix, the amount by default, whether concepts are standardised first, and what is done then."""

    matrix: Matrix
    amount: float = 0.0
    standardised: bool = False
    then: Then | None = None


KINDS = {
    "perfect": Kind(_eye),
    "permuted_scaled": Kind(_permuted_scaled),
    "monotone_warp": Kind(_flipped, standardised=True, then=lambda a, z, amount, keys: _bent(a)),
    "rotation": Kind(_rotation, standardised=True),
    "common_factor": Kind(_common, 0.1, True, lambda a, z, amount, keys: a + amount * _student(keys, a.shape[1], math.inf)),
    "row_permuted": Kind(_eye),
    "noise": Kind(_nothing, 1.0, then=lambda a, z, amount, keys: _student(keys, a.shape[1], math.inf)),
    "heavy_noise": Kind(_heavy, 1.5, then=lambda a, z, amount, keys: _student(keys, a.shape[1], amount)),
    "copy_some": Kind(_first, 64),
    "duplicated": Kind(_times, 2),
    "split": Kind(_halves, standardised=True, then=lambda a, z, amount, keys: a.clamp_min(0)),
    "split_by_other": Kind(_times, 2, then=lambda a, z, amount, keys: _gated(a, z)),
    "merged": Kind(_merged, 2, True),
    "dead_laden": Kind(_dead, 3),
    "rotated_pairs": Kind(_rotated_pairs, 45, True),
    "sheared_some": Kind(_sheared_some, 1, True),
    "sheared": Kind(_sheared, 0.7, True),
    "sign_even": Kind(_eye, standardised=True, then=lambda a, z, amount, keys: a.abs()),
    "perfect_heavy": Kind(_eye, 0.05, True, lambda a, z, amount, keys: a + amount * _student(keys, a.shape[1], 2.0)),
    "path": Kind(_path, 0.0, True),
}
