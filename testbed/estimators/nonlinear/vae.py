"""Concepts behind a nonlinear f, told apart by few edges: a variational autoencoder, a frame of its codes, and penalties."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Observed, seed_of
from testbed.estimators.nonlinear.networks import Weights, decoded, encoded, gated, jacobian, new_weights, reframed
from testbed.estimators.nonlinear.training import Penalty, Trained, held_out, largest, train
from testbed.numerics.batches import is_stream, rows
from testbed.numerics.edge_rotation import Frame, fewest_edges, smallest_codes, strong
from testbed.numerics.joint_diagonal import joint_diagonal
from testbed.numerics.matching import dense
from testbed.numerics.rotation import varimax

HELD_OUT = 0.1
"""Share of the rows on which numbers of codes are compared."""
PROFILED = 2048
"""Rows over which the decoder's Jacobian is averaged."""
FEWEST = 32
"""Least number of rows."""

ROTATIONS = ("none", "edges", "codes", "varimax", "environments")
PENALTIES = ("none", "edges", "gates", "codes", "topk")


class VAE(Estimator):
    r"""A variational autoencoder whose codes are turned to where its decoder has the fewest edges.

    1. An autoencoder with code u, prior N(0, I) and a decoder f (`testbed.estimators.nonlinear.networks`) is trained, and its codes made
       uncorrelated with variance 1: this leaves their frame open.
    2. Codes :math:`s = W u` of variance 1, correlated where that helps, minimise the number of edges of f,
       :math:`\sum_{ij} (E(\partial x_i / \partial s_j)^2)^{p/2}` (`testbed.numerics.edge_rotation`), from many starts, the lowest of which
       is taken: no truth is needed. With `fits` above 1 so is the autoencoder among several.
    3. With a penalty, training goes on from there, jointly for f, the encoder and W (`testbed.estimators.nonlinear.training`).

    If f's support is structurally sparse and its rows span it, the sparsest Jacobian is that of the concepts, each up to an invertible
    map [1]_. All controls share steps, starts and networks: no rotation, codes as sparse as possible, varimax of codes, no penalty.

    Parameters
    ----------
    n_codes : int, optional
        m; None finds the number whose short fit (half of `steps`) is best on a tenth of the rows, held out: it starts at the largest
        ratio of successive principal variances, and goes up or down by one while that helps.
    rotation : {"edges", "none", "codes", "varimax", "environments"}
        What is made few or sparse by turning codes after the fit: edges; nothing; codes, by L1, or by varimax (both keep W orthogonal);
        correlations within each environment (`auxiliary`), by `joint_diagonal`.
    penalty : {"none", "edges", "gates", "codes", "topk"}
        What is penalised in training after that, see `Penalty`; gates are hard concrete [2]_.
    weight : float
        lambda of the penalty, in nats per row.
    slack : float, optional
        Constrained form: lambda moves so that the fit gets worse by at most so many nats per row.
    power : float
        p in (0, 1]; 1 is the group L1 norm.
    k : int, optional
        Codes that a row keeps with penalty ``"topk"``; None: half of them.
    starts : int
        Of the search for W.
    fits : int
        Autoencoders to fit; the one with the fewest edges (without rotation, the best fit) is kept.
    steps, penalty_steps : int
        Of training, and of training with a penalty.
    batch_size : int
    rate : float
    units, hidden : int
        Of each coordinate's decoder, and of each of the encoder's two hidden layers (of every coupling's one, with a flow).
    encoder : {"mlp", "flow"}
        Principal directions and a perceptron beside them, or an invertible map before them: a flow loses nothing but what E leaves out.
    kind : {"vae", "plain"}
        ``"plain"`` has neither noise nor KL divergence; `n_codes` must be given.
    auxiliary : str, optional
        Column of the row table that tells each row's environment: codes then have a Gaussian prior of their own in each [3]_. The encoder
        does not see it. With ``rotation = "none"`` it is the prior alone that fixes the frame.
    max_codes : int
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    strength_ : Tensor, shape (d, m)
        Root mean square Jacobian, :math:`\sqrt{E (\partial x_i / \partial s_j)^2}`, of standardised coordinates.
    support_ : Tensor, shape (d, m), bool
        Edges, by `strong`.
    dictionary_ : Tensor, shape (m, d)
        Mean Jacobian, in the units of the data.
    losses_ : Tensor, shape (k,)
        Ends of the search for W, best first.
    fit_losses_ : list of float
        What each autoencoder was chosen by.
    tried_ : list of [int, float]
        Numbers of codes that were tried, with their loss on held-out rows; empty if `n_codes` was given.
    stopped_ : str
        A sentence if `max_codes` ended the search for their number, else "".

    References
    ----------
    .. [1] Zheng, Ng & Zhang (2022), On the identifiability of nonlinear ICA: sparsity and beyond, NeurIPS, theorem 1; for sparse decoders:
       Moran, Sridhar, Wang & Blei (2022), TMLR.
    .. [2] Louizos, Welling & Kingma (2018), Learning sparse neural networks through L0 regularization, ICLR.
    .. [3] Khemakhem, Kingma, Monti & Hyvarinen (2020), Variational autoencoders and nonlinear ICA, AISTATS.
    """

    def __init__(
        self,
        n_codes: int | None = None,
        rotation: Literal["edges", "none", "codes", "varimax", "environments"] = "edges",
        penalty: Literal["none", "edges", "gates", "codes", "topk"] = "none",
        weight: float = 0.1,
        slack: float | None = None,
        power: float = 0.5,
        k: int | None = None,
        starts: int = 128,
        fits: int = 1,
        steps: int = 2000,
        penalty_steps: int = 1000,
        batch_size: int = 256,
        rate: float = 5e-3,
        units: int = 4,
        hidden: int = 64,
        encoder: Literal["mlp", "flow"] = "mlp",
        kind: Literal["vae", "plain"] = "vae",
        auxiliary: str | None = None,
        max_codes: int = 16,
        samples: int = 20_000,
        view: str | None = None,
    ) -> None:
        self.n_codes = n_codes
        self.rotation = rotation
        self.penalty = penalty
        self.weight = weight
        self.slack = slack
        self.power = power
        self.k = k
        self.starts = starts
        self.fits = fits
        self.steps = steps
        self.penalty_steps = penalty_steps
        self.batch_size = batch_size
        self.rate = rate
        self.units = units
        self.hidden = hidden
        self.encoder = encoder
        self.kind = kind
        self.auxiliary = auxiliary
        self.max_codes = max_codes
        self.samples = samples
        self.view = view

    @classmethod
    def small(cls) -> Self:
        return cls(steps=60, penalty_steps=20, penalty="edges", starts=8, hidden=16, units=2, max_codes=4, samples=2048)

    # ---------------------------------------------------------------------------------------------------------------- fit

    def fit(self, data: Data, *, seed: int) -> Self:
        """Fit autoencoders, turn their codes, keep the best; `seed` draws weights, batches, noise and starts.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, a coordinate is constant, there are too few rows, or no column `auxiliary`.
        """
        self._check()
        x = rows(data, self.view, limit=self.samples).float()
        if len(x) < FEWEST:
            raise InvalidInput(f"the data have {len(x)} rows, but an autoencoder needs at least {FEWEST}: give more rows")
        self.mean_, self.scale_ = x.mean(dim=0), x.std(dim=0)
        still = (self.scale_ <= 1e-6 * self.mean_.abs().clamp_min(1e-6)).nonzero()[:, 0].tolist()
        if still:
            raise InvalidInput(f"column {still[0]} of the data does not vary: leave constant columns out")
        if self.encoder == "flow" and x.shape[1] < 2:
            raise InvalidInput('a flow needs two coordinates, and the data have one: set encoder to "mlp"')
        x = (x - self.mean_) / self.scale_
        groups = None if self.auxiliary is None else environments(data, self.auxiliary, len(x)).to(x.device)
        m = self._number(x, groups, seed)
        found = [self._one(x, m, groups, torch.Generator().manual_seed(seed_of("vae", seed, fit))) for fit in range(self.fits)]
        self.fit_losses_ = [float(one[3]) for one in found]
        weights, frame, gates, _ = found[min(range(self.fits), key=self.fit_losses_.__getitem__)]
        self._finish(x, weights, frame.turn, gates)
        self.losses_ = frame.losses.detach().cpu()
        return self

    def _number(self, x: Tensor, groups: Tensor | None, seed: int) -> int:
        """How many codes: `n_codes`, or where short fits are best on held-out rows."""
        most = min(self.max_codes, x.shape[1])
        self.tried_: list[list[float]] = []
        self.stopped_ = ""
        if self.n_codes is not None:
            return min(self.n_codes, x.shape[1])
        held = max(1, int(HELD_OUT * len(x)))
        losses: dict[int, float] = {}

        def loss(m: int) -> float:
            if m not in losses:
                generator = torch.Generator().manual_seed(seed_of("vae number", seed))
                start = self._start(x, m, generator)
                known = None if groups is None else groups[:-held]
                short = train(x[:-held], start, generator, steps=(self.steps + 1) // 2, batch=self.batch_size, rate=self.rate, groups=known)
                losses[m] = held_out(short.weights, x[-held:], generator)
                self.tried_.append([m, losses[m]])
            return losses[m]

        variance = torch.linalg.eigvalsh(x.T.double().cov().reshape(x.shape[1], -1)).flip(0).clamp_min(1e-9)
        m = 1 + int((variance[:-1] / variance[1:])[:most].argmax()) if len(variance) > 1 else 1
        step = 1 if m < most and loss(m + 1) < loss(m) else -1
        while 1 <= m + step <= most and loss(m + step) < loss(m):
            m += step
        if m == self.max_codes < x.shape[1]:
            self.stopped_ = f"the search for the number of codes ended at max_codes = {m}, where it was still getting better: raise it"
        return m

    def _start(self, x: Tensor, m: int, generator: torch.Generator) -> Weights:
        return new_weights(x, m, self.units, self.hidden, generator, self.encoder == "flow")

    def _one(self, x: Tensor, m: int, groups: Tensor | None, generator: torch.Generator) -> tuple[Weights, Frame, Tensor | None, float]:
        """One autoencoder: weights of an encoder to u and a decoder from s, W, gates, and what it is chosen by."""
        settings: dict[str, Any] = {"batch": self.batch_size, "groups": groups, "plain": self.kind == "plain"}
        start = self._start(x, m, generator)
        trained = train(x, start, generator, steps=self.steps, rate=self.rate, **settings)
        white, moments, u = self._whitened(x, trained)
        frame = self._frame(u, moments, groups, generator)
        identity = torch.eye(len(frame.turn)).to(x)
        turned = reframed(white, torch.zeros_like(white["e"]), identity, torch.linalg.inv(frame.turn))
        chosen = float(frame.losses[0]) if self.rotation != "none" else trained.loss
        if self.penalty == "none":
            return turned, frame, None, chosen
        k = self.k or max(1, len(frame.turn) // 2)
        wanted = Penalty(self.penalty, self.weight, self.power, k, self.slack)
        bound = trained.loss + (self.slack or 0.0)
        after = train(
            x, turned, generator, steps=self.penalty_steps, rate=self.rate / 2, turn=frame.turn, penalty=wanted, bound=bound, **settings
        )
        return after.weights, Frame(after.turn, frame.losses), after.gates, chosen

    def _whitened(self, x: Tensor, trained: Trained) -> tuple[Weights, Tensor, Tensor]:
        """The autoencoder with codes of variance 1 (uncorrelated, if they are to be turned), its second moments, and these codes."""
        p = trained.weights
        codes = encoded(p, x)
        covariance = codes.T.double().cov().reshape(codes.shape[1], -1)
        if self.rotation == "none":
            covariance = covariance.diagonal().diag()
        variance, axes = torch.linalg.eigh(covariance)
        deviation = variance.clamp_min(1e-8).sqrt()
        forward, back = (axes / deviation @ axes.T).float(), (axes * deviation @ axes.T).float()
        white = reframed(p, codes.mean(dim=0), forward, back)
        white["deviation"] = p["deviation"] + forward.diagonal().abs().clamp_min(1e-6).log()
        u = encoded(white, x)
        slopes = jacobian(white, u[:PROFILED])
        return white, torch.einsum("nia,nib->iab", slopes, slopes) / len(slopes), u

    def _frame(self, u: Tensor, moments: Tensor, groups: Tensor | None, generator: torch.Generator) -> Frame:
        m = u.shape[1]
        if self.rotation == "environments":
            assert groups is not None
            return _uncorrelated(u, groups)
        if self.rotation == "edges":
            return fewest_edges(moments, generator, self.starts, self.power)
        if self.rotation == "codes":
            return smallest_codes(u[:PROFILED], generator, max(1, self.starts // 16))
        turn = varimax(u.double())[0].T.float() if self.rotation == "varimax" else torch.eye(m).to(u)
        return Frame(turn, -(u @ turn.T).pow(4).mean(dim=0).sum()[None])

    def _finish(self, x: Tensor, p: Weights, turn: Tensor, gates: Tensor | None) -> None:
        """Codes with mean 0 and variance 1, edges, and the dictionary."""
        if gates is not None:
            p = gated(p, gates)
        codes = encoded(p, x) @ turn.T
        centre, deviation = codes.mean(dim=0), codes.std(dim=0).clamp_min(1e-6)
        if self.penalty == "topk":  # what is 0 stays 0
            centre, deviation = torch.zeros_like(centre), torch.ones_like(deviation)
        p = reframed(p, torch.zeros_like(centre), turn, torch.eye(len(turn)).to(x))
        p = reframed(p, centre, (1 / deviation).diag(), deviation.diag())
        self._weights_ = p
        kept = self.k or max(1, len(turn) // 2)
        self.kept_ = kept if self.penalty == "topk" else len(turn)
        slopes = jacobian(p, self._codes(x[:PROFILED]))
        self.strength_ = slopes.square().mean(dim=0).sqrt()
        self.support_ = strong(self.strength_)
        self.dictionary_ = (slopes.mean(dim=0) * self.scale_[:, None]).T.contiguous()

    # -------------------------------------------------------------------------------------------------------------- codes

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_)).float()
        return self._codes((x - self.mean_.to(x.device)) / self.scale_.to(x.device))

    def decode(self, codes: Codes) -> Tensor:
        s = dense(codes).float()
        p = {name: weight.to(s.device) for name, weight in self._weights_.items()}
        return decoded(p, s) * self.scale_.to(s.device) + self.mean_.to(s.device)

    def _codes(self, x: Tensor) -> Tensor:
        p = {name: weight.to(x.device) for name, weight in self._weights_.items()}
        return largest(encoded(p, x), self.kept_)

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The networks' weights under ``weights/``, and the attributes that end in ``_``."""
        arrays, plain = super().get_state()
        return {**arrays, **{f"weights/{name}": weight for name, weight in self._weights_.items()}}, plain

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> Self:
        """Take back what `get_state` gave."""
        self._weights_ = {name.removeprefix("weights/"): torch.as_tensor(w) for name, w in arrays.items() if name.startswith("weights/")}
        return super().set_state(arrays, plain)

    def _check(self) -> None:
        counts = {name: getattr(self, name) for name in ("starts", "fits", "steps", "penalty_steps", "batch_size", "units", "hidden")}
        counts |= {"max_codes": self.max_codes, "samples": self.samples, "n_codes": self.n_codes or 1, "k": self.k or 1}
        small = next((name for name, value in counts.items() if value < 1), None)
        if small or self.n_codes == 0 or self.k == 0:
            raise InvalidInput(f"{small or ('n_codes' if self.n_codes == 0 else 'k')} must be at least 1: leave it out, or raise it")
        choices = {"rotation": ROTATIONS, "penalty": PENALTIES, "kind": ("vae", "plain"), "encoder": ("mlp", "flow")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if not (
            0 < self.power <= 1 and 0 < self.rate < math.inf and 0 <= self.weight < math.inf and (self.slack is None or self.slack > 0)
        ):
            raise InvalidInput(
                f"power lies in (0, 1], rate and slack are above 0, weight at least 0; not {self.power}, {self.rate}, {self.slack} and "
                f"{self.weight}"
            )
        if self.rotation == "environments" and self.auxiliary is None:
            raise InvalidInput('rotation "environments" wants to know them: set auxiliary to a column of the row table')
        if self.kind == "plain" and self.n_codes is None:
            raise InvalidInput("a plain autoencoder cannot tell which codes are needed: give n_codes")


def _uncorrelated(u: Tensor, groups: Tensor) -> Frame:
    """The frame of u in which codes are as little correlated within environments as can be."""
    counts = torch.bincount(groups)
    few = int(counts.min())
    if few <= u.shape[1]:
        raise InvalidInput(f"an environment has {few} rows, too few for {u.shape[1]} codes: give more rows, or leave it out")
    covariances = torch.stack([u[groups == group].T.double().cov().reshape(u.shape[1], -1) for group in range(len(counts))])
    turn = joint_diagonal(covariances, counts)
    turned = turn @ covariances @ turn.T
    left = counts.double() @ (turned.diagonal(dim1=1, dim2=2).log().sum(dim=1) - torch.linalg.slogdet(turned)[1]) / counts.sum()
    return Frame(turn.to(u), left[None])


def environments(data: Any, column: str, n: int) -> Tensor:
    """Each row's environment as numbers from 0 on, shape (n,), int64.

    Raises
    ------
    InvalidInput
        If the row table has no such column.
    """
    pieces, count = [], 0
    for piece in data if is_stream(data) else (data,):
        if not isinstance(piece, Observed) or column not in piece.rows:
            known = ", ".join(piece.rows) if isinstance(piece, Observed) else "none, it is an array"
            raise InvalidInput(
                f"the row table has no column {column!r} (it has {known or 'none'}): set auxiliary to one of them, or leave it out"
            )
        pieces.append(torch.as_tensor(piece.rows[column]))
        count += len(piece)
        if count >= n:
            break
    numbers: Tensor = torch.unique(torch.cat(pieces)[:n], return_inverse=True)[1]
    return numbers
