r"""Whether Markov chains have mixed, and what their draws are worth: split R-hat and effective sample size.

With M chains (halves of the chains that were run) of N draws, W the mean of their variances and B / N the variance of their means,

.. math:: \widehat{\mathrm{var}}^+ = \tfrac{N - 1}{N} W + \tfrac{1}{N} B, \qquad \hat R = \sqrt{\widehat{\mathrm{var}}^+ / W},

on ranks that are made normal, and on those of the distance from the median (folded), of which the larger counts. The effective sample
size is :math:`M N / \hat\tau`, :math:`\hat\tau = -1 + 2 \sum_k \hat P_k`, where :math:`\hat P_k = \hat\rho_{2k} + \hat\rho_{2k+1}` is cut
at the first negative sum and made monotone (Geyer), and
:math:`\hat\rho_t = 1 - (W - \overline{s_m^2 \hat\rho_{t,m}}) / \widehat{\mathrm{var}}^+` [1]_.

References
----------
.. [1] Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021), Rank-normalization, folding, and localization: an improved R-hat for
   assessing convergence of MCMC, Bayesian Analysis 16, 667-718, equations 1-4, 10-14.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import rankdata
from torch import Tensor

from testbed.contracts import InvalidInput


def r_hat(draws: Tensor) -> Tensor:
    """Rank-normalised split R-hat, the larger of that of the draws and of their folded values.

    Parameters
    ----------
    draws : Tensor, shape (chains, draws, statistics)

    Returns
    -------
    Tensor, shape (statistics,), float64
        NaN where a statistic never changes; infinite where it changes between chains only.

    Raises
    ------
    InvalidInput
        If there are fewer than 4 draws, or one is not finite.
    """
    draws = _checked(draws)
    middle = draws.flatten(0, 1).median(dim=0).values
    bulk, folded = (_potential_reduction(_split(_normal_ranks(x))) for x in (draws, (draws - middle).abs()))
    # Folding can make a constant of a statistic, which says nothing.
    return torch.where(folded.isnan(), bulk, torch.maximum(bulk, folded))


def effective_sample_size(draws: Tensor) -> Tensor:
    """Effective number of independent draws for the (bulk of the) law of every statistic, by split chains and normal ranks.

    Parameters
    ----------
    draws : Tensor, shape (chains, draws, statistics)

    Returns
    -------
    Tensor, shape (statistics,), float64
        NaN where a statistic never changes.

    Raises
    ------
    InvalidInput
        If there are fewer than 4 draws, or one is not finite.
    """
    x = _split(_normal_ranks(_checked(draws)))
    m, n, _ = x.shape
    centred = x - x.mean(dim=1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=1)
    covariance = torch.fft.irfft(spectrum.abs().square(), n=2 * n, dim=1)[:, :n].mean(dim=0) / n  # (lags, statistics)
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n + (x.mean(dim=1).var(dim=0) if m > 1 else 0.0)
    rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, -1).sum(dim=1)
    positive = (pairs > 0).cumprod(dim=0)
    pairs = torch.where(positive.bool(), pairs, 0.0).cummin(dim=0).values
    tau = (2 * pairs.sum(dim=0) - 1).clamp_min(1 / math.log10(m * n))  # antithetic draws are not believed beyond that
    return torch.where(total > 0, m * n / tau, torch.nan)


def _checked(draws: Tensor) -> Tensor:
    if draws.ndim != 3 or draws.shape[1] < 4:
        raise InvalidInput(f"draws must be (chains, at least 4 draws, statistics), not of shape {tuple(draws.shape)}: run chains longer")
    if not draws.isfinite().all():
        raise InvalidInput("draws must be finite: a statistic that can be infinite has no variance to compare, leave it out")
    return draws.double()


def _split(draws: Tensor) -> Tensor:
    """Both halves of every chain as chains, shape (2 chains, draws // 2, statistics)."""
    half = draws.shape[1] // 2
    return torch.cat([draws[:, :half], draws[:, -half:]])


def _normal_ranks(draws: Tensor) -> Tensor:
    """Equation 14 of [1]; two-valued statistics stay as they are, since that map is affine for them and changes nothing."""
    flat = draws.flatten(0, 1)
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    several = ((flat != low) & (flat != high)).any(dim=0).nonzero()[:, 0]
    if len(several):
        ranks = rankdata(flat[:, several].cpu().numpy(), axis=0)
        flat = flat.clone()
        flat[:, several] = torch.from_numpy(np.asarray(ndtri((ranks - 0.375) / (len(flat) + 0.25)))).to(flat.device)
    return flat.reshape(draws.shape)


def _potential_reduction(x: Tensor) -> Tensor:
    n = x.shape[1]
    within, between = x.var(dim=1).mean(dim=0), x.mean(dim=1).var(dim=0)
    ratio = ((n - 1) / n * within + between) / within
    constant = x.flatten(0, 1).amin(dim=0) == x.flatten(0, 1).amax(dim=0)
    return torch.where(constant, torch.nan, torch.where(within > 0, ratio.sqrt(), torch.inf))
