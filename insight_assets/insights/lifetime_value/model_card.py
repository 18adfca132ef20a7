"""What the card of lifetime value models says beside what all cards say (see `ml.model_card`)."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import polars as pl

from insight_assets.insights.lifetime_value.calibrated_intervals import interval_method
from insight_assets.insights.lifetime_value.forecasts import BG_NBD, BOOSTED, PARETO_NBD, ZILN
from insight_assets.insights.lifetime_value.learning import INTERVAL_LEVEL, Calibration
from insight_assets.insights.lifetime_value.model import LifetimeValueModel
from insight_assets.insights.lifetime_value.scoring import other_windows
from insight_assets.ml.conformal import ConformalBounds
from insight_assets.ml.model_card import (
    ModelCard,
    groups_of,
    people_told,
    settings_told,
    table,
    taught_table,
    total_told,
)


def model_card(
    model: LifetimeValueModel, examples: pl.DataFrame, *, horizon_days: int, smallest_group: int
) -> ModelCard:
    """Tell of a trained model.

    Args:
        model: The model.
        examples: Rows of the contract `churn_examples` that taught it; may be empty.
        horizon_days: Label horizon H.
        smallest_group: Fewest customers that a number may speak of.
    """
    return ModelCard(
        title="Lifetime value models",
        says="They foretell how many days with a purchase, and how much net value, a customer who has bought before "
        f"brings in the {horizon_days} days after the as-of day, and in other windows.",
        horizon=f"{horizon_days} days after the as-of day; other windows grow or shrink with BG/NBD and Gamma-Gamma",
        meant_for=(
            "deciding how much it may cost to keep or win back customers of a group",
            "expecting what the known customers will bring",
        ),
        not_for=(
            "a verdict on one person: a price, a credit, a service withheld",
            "what new customers will bring, of whom nothing is known yet",
            "profit: value is net of refunds, without the cost of goods",
        ),
        taught_by=_taught_by(model, examples, smallest_group),
        methods=[
            table([{"method": of.name, "settings": settings_told(_settings(model, of.name))} for of in model.methods])
        ],
        calibration=_calibration(model, horizon_days),
        scorecards={
            "lifetime_value_scorecard": "every method out of time, on the horizon after this as-of day once it has "
            "closed; it names the one to publish",
            "ledger_grades": "published scores and their intervals, held against what customers then brought",
            **{
                f"value_{days}d_grades": f"the same of what is told of {days} days, once they are over"
                for days in other_windows(horizon_days)
            },
        },
        limits=(
            "The probabilistic models know purchases and their value alone; only the learned ones see the rest.",
            f"Seen are {model.seen_days:,} days of the shop: a season that lies outside them is not known.",
            "An interval holds on average over customers; a single large order may lie outside it.",
        ),
    )


def _taught_by(model: LifetimeValueModel, examples: pl.DataFrame, smallest_group: int) -> list[str]:
    purchase, value = model.purchase, model.value
    counts = {
        "customers who have bought (purchase models)": purchase.customers,
        "of them with a repeat purchase": purchase.repeat_customers,
        "customers whose purchases have a value to compare (value model)": value.customers,
    }
    told = [table([{"fitted on": name, "customers": people_told(n, smallest_group)} for name, n in counts.items()])]
    groups = groups_of(examples, ["origin", "role"], label=pl.col("horizon_net") > 0, named="brought value")
    if not groups:
        return [*told, "No origin had a closed label window: nothing is learnt from outcomes, and nothing calibrated."]
    learnt = "teach" if model.learnt is not None else "are too few to teach"
    return [
        *told,
        taught_table(groups, share="brought value", smallest_group=smallest_group),
        f"{total_told(groups, smallest_group)} At closed origins, those with role `fit` and `stop` {learnt} the "
        "learned methods; those with role `calibrate` are of other customers, at the newest origin alone.",
    ]


def _settings(model: LifetimeValueModel, name: str) -> Mapping[str, Any]:
    if name == BG_NBD.name:
        return _shown(vars(model.purchase.model) | vars(model.value.model))
    if name == PARETO_NBD.name:
        return _shown(vars(model.rival.model) | vars(model.value.model))
    if name == BOOSTED.name:
        grown = model.learnt.orders.get_params()
        return {key: grown[key] for key in ("loss", "learning_rate", "max_iter", "max_leaf_nodes", "min_samples_leaf")}
    if name == ZILN.name:
        kept = min(model.learnt.notes["epochs"], key=lambda epoch: epoch[2])
        return asdict(model.learnt.settings) | {"epochs": int(kept[0]) + 1}
    return {"purchases a day of life": "times days"}


def _shown(parameters: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.4g}" for name, value in parameters.items()}


def _calibration(model: LifetimeValueModel, horizon_days: int) -> list[str]:
    if not model.calibrations:
        return ["None: no horizon has closed. Intervals are simulated from the posterior."]
    rows = []
    for method in model.methods:
        of = model.calibrations.get(method.name, Calibration())
        rows.append(
            {
                "method": method.name,
                "purchase days times": f"{of.orders_scale:.4f}",
                "value times": f"{of.value_scale:.4f}",
                "of these the season": f"{of.orders_season:.4f}, {of.value_season:.4f}",
                "groups of bounds (purchase days, value)": f"{_groups(of.orders)}, {_groups(of.value)}",
                "interval": interval_method(model, method.name, horizon_days=horizon_days),
            }
        )
    return [
        "At the newest closed origin: totals on everybody there, those of learned methods by way of BG/NBD with "
        "Gamma-Gamma; all bounds on customers from whom no method learnt. The season is what the horizon of a year ago "
        "adds to that, half believed and for the horizon alone; 1 where it is not known. Intervals are to hold "
        f"{INTERVAL_LEVEL:.0%} of outcomes.",
        table(rows),
    ]


def _groups(bounds: ConformalBounds | None) -> str:
    return "too few" if bounds is None else str(len(bounds.low))
