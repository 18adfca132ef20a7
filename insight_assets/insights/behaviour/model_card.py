"""What the card of the behaviour encoder says beside what all cards say (see `ml.model_card`)."""

from dataclasses import asdict
from datetime import date

from insight_assets.insights.behaviour.teaching import Behaviour
from insight_assets.ml.model_card import ModelCard, people_told, settings_told, table

ASKED = {
    "next_product": "product of the next event",
    "new_purchase": "a product of the next order that the customer had never bought",
    "kind": "kind of the next event",
    "amount": "price bucket of the next event",
    "next_event": "time to the next event",
    "next_order": "time to the next order",
}


def model_card(behaviour: Behaviour, *, before: date, as_of: date, smallest_group: int) -> ModelCard:
    """Tell of a taught encoder.

    Args:
        behaviour: The encoder.
        before: Day before the window that said when to stop.
        as_of: Last day that it learnt from.
        smallest_group: Fewest customers that a number may speak of.
    """
    taught = behaviour.taught
    return ModelCard(
        title="Behaviour encoder",
        says="It reads each customer's events in their order (visits, searches, carts, orders, refunds, reviews) and "
        "sums them up in one vector; products have vectors in the same space.",
        horizon="what a customer does next, without an end",
        meant_for=(
            "ranking products for a customer, beside the other methods of `recommendation_models`",
            "comparing customers, and products, with each other",
        ),
        not_for=("prices, credit or any other verdict on one person", "reading a single number of a vector by itself"),
        taught_by=[
            table(
                [
                    {"learnt from": "customers", "number": people_told(behaviour.customers, smallest_group)},
                    {"learnt from": "events, products of orders one by one", "number": f"{behaviour.events:,}"},
                    {"learnt from": "products", "number": f"{len(behaviour.vocabulary.products):,}"},
                ]
            )
        ],
        methods=[
            f"Size: {settings_told(_size(behaviour))}.",
            f"Learning: {settings_told(asdict(behaviour.learning))}.",
            _stopping(behaviour, before, as_of),
        ],
        calibration=_left(behaviour)
        + ["Losses of several questions are weighed by learned weights; nothing is calibrated afterwards."],
        scorecards={
            "recommendation_scorecard": "as the method `encoder` beside all other methods, once the horizon has closed"
        },
        limits=(
            f"The last {behaviour.settings.positions} events of a customer are read.",
            "Products that nobody had to do with yet are told apart by category, brand and price alone.",
            f"{taught.passes_over_all} passes over everything followed the window; how well the encoder does after "
            "them is only known once the days after the as-of day have closed.",
        ),
    )


def _size(behaviour: Behaviour) -> dict[str, object]:
    return {name: value for name, value in asdict(behaviour.settings).items() if name != "fields"}


def _stopping(behaviour: Behaviour, before: date, as_of: date) -> str:
    taught = behaviour.taught
    if not taught.epochs:
        return f"History is too short to keep days apart: {taught.passes_over_all} passes over all events."
    return (
        f"It learnt from the days up to {before} in {len(taught.epochs)} passes, kept the best by the days up to "
        f"{as_of}, and went on over everything for {taught.passes_over_all}."
    )


def _left(behaviour: Behaviour) -> list[str]:
    left = behaviour.taught.left
    if not left:
        return []
    rows = [{"question": ASKED[task], "loss left": f"{share:.3f}"} for task, share in left.items()]
    return [
        "Before it went on over everything, of the loss of a forecast that is the same for everybody was left, in the "
        "days kept apart:",
        table(rows),
    ]
