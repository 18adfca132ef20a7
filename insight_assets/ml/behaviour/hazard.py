"""Time to the next event or order, as chances by spans of days.

A hazard is the chance that something happens within a span of time, given that it did not happen before. Imports torch
at module level: import it only inside functions that train or predict.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

DAYS = (0, 1 / 48, 1 / 4, 1, 2, 3, 4, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365)
"""Days from which spans begin; the last has no end."""

LONGEST = 365.0
"""Length that the span without an end is counted with, in days; times are told up to its end."""

RAREST = 1e-4
"""Bound of the hazards that hold for all alike."""

SURELY_AWAY = 1e-7
"""Chance below which log-odds say no less."""

STARTS = np.array(DAYS, dtype=np.float32)
LENGTHS = np.diff(np.append(STARTS, STARTS[-1] + LONGEST)).astype(np.float32)


class Hazard(nn.Module):
    """Log-odds of each span, from hidden vectors."""

    def __init__(self, width: int) -> None:
        """Make the layer."""
        super().__init__()
        self.layer = nn.Linear(width, len(DAYS))
        # Spans that nobody was watched through stay at what `marginal_odds` says of them, whatever the vector.
        nn.init.zeros_(self.layer.weight)
        self.register_buffer("starts", torch.from_numpy(STARTS), persistent=False)
        self.register_buffer("lengths", torch.from_numpy(LENGTHS), persistent=False)

    def start_from(self, odds: np.ndarray) -> None:
        """Let untaught vectors give everybody the same log-odds, as `marginal_odds` finds them."""
        with torch.no_grad():
            self.layer.bias.copy_(torch.from_numpy(odds))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Give log-odds, shape (t, spans)."""
        return self.layer(hidden)

    def loss(self, odds: torch.Tensor, days: torch.Tensor, happened: torch.Tensor) -> torch.Tensor:
        """Give minus the log-likelihood of what came, one value a token.

        Args:
            odds: Shape (t, spans).
            days: Shape (t,), float: days until it happened, or for which it did not.
            happened: Shape (t,), bool: whether it did. Where not, the part of the span that was seen counts.
        """
        span = torch.bucketize(days, self.starts[1:], right=True)
        survived = self._survived(odds, days, whole_spans=happened)
        chance = F.logsigmoid(odds).gather(1, span[:, None])[:, 0]
        return -(survived + torch.where(happened, chance, torch.zeros_like(chance)))

    def chance(self, odds: torch.Tensor, since: torch.Tensor, within: float | torch.Tensor) -> torch.Tensor:
        """Give the chance that it happens in the days to come, one value a token.

        Args:
            odds: Shape (t, spans).
            since: Shape (t,), float: days that passed since the token without its happening.
            within: Days to come, of all tokens or of each, shape (t,).
        """
        return -torch.expm1(self._stays_away(odds, since, within))

    def log_odds(self, odds: torch.Tensor, since: torch.Tensor, within: float) -> torch.Tensor:
        """Give the log-odds of that chance, which hidden vectors and days move evenly; arguments as for `chance`."""
        away = self._stays_away(odds, since, within).clamp(max=-SURELY_AWAY)
        return torch.log(-torch.expm1(away)) - away

    def _stays_away(self, odds: torch.Tensor, since: torch.Tensor, within: float) -> torch.Tensor:
        """Log-chance that nothing happens in the days to come either."""
        nothing = torch.zeros_like(since, dtype=torch.bool)
        then, now = (self._survived(odds, days, whole_spans=nothing) for days in (since + within, since))
        return then - now

    def _survived(self, odds: torch.Tensor, days: torch.Tensor, *, whole_spans: torch.Tensor) -> torch.Tensor:
        """Log-chance that nothing happened for some days, or up to the span that they end in."""
        share = ((days[:, None] - self.starts) / self.lengths).clamp(0, 1)
        share = torch.where(whole_spans[:, None], share.floor(), share)
        return (share * F.logsigmoid(-odds)).sum(dim=1)


def marginal_odds(days: np.ndarray, happened: np.ndarray) -> np.ndarray:
    """Give log-odds that hold for all alike: events over those at risk, in each span (Kaplan and Meier, 1958).

    Args:
        days: Shape (t,), as in `Hazard.loss`.
        happened: Shape (t,), bool.

    Returns:
        Shape (spans,), float32. To each span one person is added who goes on at the daily rate of the span before, so
        that a span that nobody was watched through goes on so as well.
    """
    span = np.searchsorted(STARTS[1:], days, side="right")
    came = np.bincount(span[happened], minlength=len(STARTS))
    past_it = len(days) - np.cumsum(np.bincount(span, minlength=len(STARTS)))
    open_spans = span[~happened]
    part = (days[~happened] - STARTS[open_spans]) / LENGTHS[open_spans]
    stayed = past_it + np.bincount(open_spans, weights=part, minlength=len(STARTS))
    rate = (happened.sum() + 1) / (days.sum() + LONGEST)
    odds = np.zeros(len(STARTS))
    for number, length in enumerate(LENGTHS):
        expected = -np.expm1(-rate * length)
        hazard = np.clip((came[number] + expected) / (came[number] + stayed[number] + 1), RAREST, 1 - RAREST)
        odds[number] = np.log(hazard / (1 - hazard))
        rate = -np.log1p(-hazard) / length
    return odds.astype(np.float32)
