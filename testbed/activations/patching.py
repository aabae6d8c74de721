"""How well a model predicts when some of its activations are replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from testbed.activations.hooks import layer_of, replace, resolve, resumed
from testbed.activations.models import LanguageModel
from testbed.activations.windows import Window, is_row, padded
from testbed.contracts import InvalidInput


class Patching:
    """Next-token losses of a model on fixed groups of windows, clean or with the rows of one module replaced.

    The clean pass is made once. Where the module is a block and the model can be resumed from what the block put out, a replaced pass
    runs the later blocks alone. Whether it can is settled by comparing a resumed pass with a whole one, bit by bit.

    Parameters
    ----------
    lm : LanguageModel
    module : str
        Whose output is replaced, at the rows of the windows alone.
    groups : sequence of sequence of Window
        Windows that run together.
    """

    def __init__(self, lm: LanguageModel, module: str, groups: Sequence[Sequence[Window]]) -> None:
        self.lm, self.module, self.groups = lm, module, groups
        self._clean: list[Tensor] = []
        self._hidden: list[Tensor] = []

    @property
    def resumes(self) -> bool:
        """Whether replaced passes run the later blocks alone; known after `clean`."""
        return bool(self._hidden)

    @torch.no_grad()
    def clean(self) -> Tensor:
        """Cross-entropy of the token after each row in nats, shape (n,)."""
        if not self._clean:
            clean, hidden = [], []
            resumable = layer_of(self.module) is not None
            for group in self.groups:
                losses, output = self._watched(group)
                clean.append(losses)
                resumable = resumable and isinstance(output, Tensor)
                if resumable and len(clean) == 1:
                    resumable = torch.equal(self._resumed(group, output), losses)
                if resumable:
                    hidden.append(output)
            self._clean, self._hidden = clean, hidden if resumable else []
        return torch.cat(self._clean)

    @torch.no_grad()
    def replaced(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The same losses when the activations x of the rows, shape (rows, d), become ``function(x)``; called group by group.

        Raises
        ------
        InvalidInput
            If `function` changes the shape or gives NaN or infinity.
        """
        self.clean()
        found = []
        for number, group in enumerate(self.groups):
            if self.resumes:
                found.append(self._resumed(group, _patched(self._hidden[number], group, function)))
            else:
                with replace(self.lm.model, self.module, lambda x, group=group: _patched(x, group, function)):  # type: ignore[misc]
                    found.append(self._losses(group))
        return torch.cat(found)

    def _watched(self, group: Sequence[Window]) -> tuple[Tensor, Any]:
        """Clean losses of a group, and what the module put out meanwhile."""
        outputs: list[Any] = []
        hook = resolve(self.lm.model, self.module)[1].register_forward_hook(lambda _, args, output: outputs.append(output))
        try:
            losses = self._losses(group)
        finally:
            hook.remove()
        if not outputs:
            raise InvalidInput(f"module {self.module!r} did not run: name one that the forward pass uses")
        return losses, outputs[0]

    def _resumed(self, group: Sequence[Window], hidden: Tensor) -> Tensor:
        layer = layer_of(self.module)
        assert layer is not None
        with resumed(self.lm.model, layer, hidden):
            return self._losses(group)

    def _losses(self, group: Sequence[Window]) -> Tensor:
        ids = padded(group, self.lm.model.device)
        logits = self.lm.model(input_ids=ids, use_cache=False).logits  # (batch, length, vocabulary)
        found = []
        for own, tokens, window in zip(logits, ids, group, strict=True):
            scores = own[1 : window.rows + 1].float()  # (rows, vocabulary)
            told = tokens[2 : window.rows + 2, None]
            found.append(scores.logsumexp(-1) - scores.gather(-1, told)[:, 0])
        return torch.cat(found)


def _patched(hidden: Tensor, group: Sequence[Window], function: Callable[[Tensor], Tensor]) -> Tensor:
    """`hidden`, shape (batch, length, d), with the rows of the windows replaced and everything else as it was."""
    rows = is_row(group, hidden.shape[1], hidden.device)
    before = hidden[rows].float()  # (rows, d)
    after = function(before)
    if after.shape != before.shape or not bool(after.isfinite().all()):
        raise InvalidInput(
            f"activations of shape {tuple(before.shape)} were replaced by ones of shape {tuple(after.shape)}: they must agree, and "
            "hold neither NaN nor infinity"
        )
    patched = hidden.clone()
    patched[rows] = after.to(hidden)
    return patched
