"""Linear decoders: from codes back to rows, a block at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes
from testbed.numerics.matching import dense


def linear_decode(codes: Codes, dictionary: Tensor, bias: Tensor | None = None) -> Tensor:
    r""":math:`\hat x = a D + b`, shape (n, d); sparse codes are made dense a block at a time, so that memory does not grow with n m.

    Parameters
    ----------
    codes : Tensor or SparseRows, shape (n, m)
    dictionary : Tensor, shape (m, d)
    bias : Tensor, shape (d,), optional
    """
    starts = range(0, max(1, len(codes)), BLOCK)
    described: Tensor = torch.cat([dense(codes[i : i + BLOCK]).to(dictionary) @ dictionary for i in starts])
    return described if bias is None else described + bias
