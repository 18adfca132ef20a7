"""What the card of recommendation models says beside what all cards say (see `ml.model_card`)."""

from dataclasses import asdict
from datetime import date, timedelta

import polars as pl

from insight_assets.insights.recommendation.methods import DEFAULT_TUNINGS, FEWEST_TUNING_CUSTOMERS, Fitted
from insight_assets.insights.recommendation.ranking import Policy
from insight_assets.ml.model_card import ModelCard, people_told, settings_told, table


def model_card(
    fitted: Fitted, contacts: pl.DataFrame, bought: pl.DataFrame, *, before: date, policy: Policy, smallest_group: int
) -> ModelCard:
    """Tell of fitted methods.

    Args:
        fitted: The methods.
        contacts: What they were fitted on, as `interactions` gives it.
        bought: What customers bought in the horizon on which settings were chosen, as `purchases` gives it.
        before: The day before that horizon.
        policy: The rules of lists.
        smallest_group: Fewest customers that a number may speak of.
    """
    days = (fitted.as_of - before).days
    return ModelCard(
        title="Recommendation models",
        says="They rank the products of the shop for a customer by what all customers had to do with until the as-of "
        "day, and say which product of the customer's speaks for each.",
        horizon=f"lists are made to hold what is bought in the {days} days after the as-of day",
        meant_for=("choosing products to show or to write about", "saying why a product is shown"),
        not_for=(
            "expecting how much of a product will be sold",
            "prices, credit or any other verdict on one person",
            "judging products: what is shown more is bought more",
        ),
        taught_by=_taught_by(fitted, contacts, bought, before=before, smallest_group=smallest_group),
        methods=[
            table([{"method": method.name, "settings": _settings(fitted, method.name)} for method in fitted.methods]),
            f"Lists: {settings_told(asdict(policy))}.",
        ],
        calibration=["Nothing is calibrated: a place in a list is a rank and no probability."],
        scorecards={
            "recommendation_scorecard": "every method on what was bought in the horizon after this as-of day, once it "
            "has closed; it names the one to publish",
            "recommendation_ledger": "published lists beside what the naive rule would have shown",
            "ledger_grades": "published lists, held against what customers then bought",
        },
        limits=(
            f"{fitted.catalogue.cold:,} of {len(fitted.catalogue):,} products had no contact yet; only what they are "
            "like speaks for them.",
            "Customers without any contact are shown what new customers buy, which nobody grades.",
            "What was shown earlier steers what was bought, and so what is learnt.",
        ),
        facts={"seed": "none of the settings: the factors start from a fixed one, nothing else is random"},
    )


def _taught_by(
    fitted: Fitted, contacts: pl.DataFrame, bought: pl.DataFrame, *, before: date, smallest_group: int
) -> list[str]:
    customers, buyers = (rows["customer_key"].n_unique() for rows in (contacts, bought))
    enough = customers == 0 or customers >= smallest_group
    rows = {
        "customers": people_told(customers, smallest_group),
        "contacts of a customer and a product": f"{contacts.height:,}" if enough else "too few to tell",
        "products": f"{len(fitted.catalogue):,}",
        "customers who bought in the closed horizon": people_told(buyers, smallest_group),
    }
    horizon = f"{before + timedelta(days=1)} to {fitted.as_of}"
    chosen = f"Settings were chosen on what was bought from {horizon}, by methods that knew nothing after {before}."
    if fitted.tunings.blend is DEFAULT_TUNINGS.blend:
        chosen = (
            f"Settings are the usual ones: from {horizon} fewer than {FEWEST_TUNING_CUSTOMERS} customers with a "
            "history bought, too few to choose by."
        )
    return [table([{"learnt from": name, "number": told} for name, told in rows.items()]), chosen]


def _settings(fitted: Fitted, name: str) -> str:
    if name == "blend":
        return settings_told(fitted.tunings.blend)
    tuning = fitted.tunings.methods.get(name)
    return "none" if tuning is None else settings_told(asdict(tuning))
