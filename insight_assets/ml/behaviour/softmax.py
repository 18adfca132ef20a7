"""Cross-entropy over all products without holding all scores at once.

The scores of a batch, tokens times products, would be the largest tensor of a training by far. Imports torch at module
level: import it only inside functions that train or predict.
"""

import torch
from torch.nn import functional as F  # noqa: N812

CHUNK_SCORES = 1 << 24
"""Scores held at a time: 64 MiB."""


class _ChunkedSoftmax(torch.autograd.Function):
    """Sum of the cross-entropies of tokens, whose gradients are worked out while a chunk's scores are there."""

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx,
        hidden: torch.Tensor,
        products: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Give the sum, and keep its gradients."""
        step = max(1, CHUNK_SCORES // len(products))
        of_hidden, of_products = torch.empty_like(hidden), torch.zeros_like(products)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), step):
            part, wanted = hidden[start : start + step], targets[start : start + step]
            scores = part @ products.T
            norm = scores.logsumexp(dim=1)
            total += (norm - scores.gather(1, wanted[:, None])[:, 0]).sum()
            chances = scores.sub_(norm[:, None]).exp_()
            chances[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
            of_hidden[start : start + step] = chances @ products
            of_products.addmm_(chances.T, part)
        context.save_for_backward(of_hidden, of_products)
        return total

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, grown: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Scale the gradients."""
        of_hidden, of_products = context.saved_tensors
        return of_hidden * grown, of_products * grown, None


class _LogSumOfDrawn(torch.autograd.Function):
    """Logarithm of the sum of the exponentials of a token's scores for what was drawn, its target left out.

    The scores are the largest tensor of a step; every further pass over them costs as much as their product of
    matrices, so that there are two.
    """

    @staticmethod
    def forward(
        context: torch.autograd.function.FunctionCtx,
        hidden: torch.Tensor,
        negatives: torch.Tensor,
        targets: torch.Tensor,
        drawn: torch.Tensor,
    ) -> torch.Tensor:
        """Give one value a token."""
        scores = hidden @ negatives.T
        hit = torch.isin(targets, drawn).nonzero()[:, 0]
        scores[hit] = scores[hit].masked_fill_(targets[hit, None] == drawn, float("-inf"))
        # Where all that was drawn is the target itself, nothing is left to sum up.
        most = scores.amax(dim=1).clamp_(min=torch.finfo(scores.dtype).min)
        sums = scores.sub_(most[:, None]).exp_().sum(dim=1)
        context.save_for_backward(hidden, negatives, scores, sums)
        return most + sums.log()

    @staticmethod
    def backward(
        context: torch.autograd.function.FunctionCtx, grown: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """Share the gradient out by how much each score counts."""
        hidden, negatives, scores, sums = context.saved_tensors
        counts = (grown / sums.clamp(min=torch.finfo(sums.dtype).tiny))[:, None]
        return (scores @ negatives) * counts, scores.T @ (hidden * counts), None, None


def chunked_softmax_loss(hidden: torch.Tensor, products: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give the mean cross-entropy of the products that came next.

    Args:
        hidden: Shape (t, width).
        products: Shape (products, width): the vector of each.
        targets: Shape (t,), int64: the product that came.

    Returns:
        A scalar; 0 without tokens.
    """
    return _ChunkedSoftmax.apply(hidden, products, targets) / max(1, len(hidden))


def sampled_softmax_loss(
    hidden: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, targets: torch.Tensor, drawn: torch.Tensor
) -> torch.Tensor:
    """Give the mean cross-entropy among the product that came and a few that were drawn for the whole batch.

    Negatives are drawn uniformly, so that the correction by the logarithm of their chance is the same for all and
    cancels out; a negative that is the target itself is left out.

    Args:
        hidden: Shape (t, width).
        positives: Shape (t, width): vectors of the products that came.
        negatives: Shape (n, width): vectors of the products drawn.
        targets: Shape (t,), int64.
        drawn: Shape (n,), int64: which products were drawn.
    """
    if not len(hidden):
        return hidden.sum()
    right = (hidden * positives).sum(dim=1)
    return F.softplus(_LogSumOfDrawn.apply(hidden, negatives, targets, drawn) - right).mean()
