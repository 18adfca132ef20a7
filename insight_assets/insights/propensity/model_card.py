"""The model card: what propensity models were made from, how, how good they are, and what they cannot do.

Written from what training stored, in Markdown, so that a person can read it beside the model's files.
"""

from collections.abc import Iterator, Mapping
from typing import Any

CARD_FILE = "MODEL_CARD.md"


def model_card(stored: Mapping[str, Any]) -> str:
    """Write the card of trained models.

    Args:
        stored: What `models` writes to its config file.

    Returns:
        Markdown; equal configs give equal cards.
    """
    lines = [
        "# Propensity models",
        "",
        "They foretell whether a customer buys something of a category, of a band of price, or a product, in the "
        f"{stored['horizon_days']} days after the as-of day. A kind has one model for all its targets. "
        f"Code version {stored['code_version']}.",
        "",
    ]
    for kind, each in stored["kinds"].items():
        lines += [f"## {kind}", "", *_data(each["config"]["examples"]), *_methods(each)]
    return "\n".join([*lines, *_limits()]) + "\n"


def _data(counts: list[Mapping[str, Any]]) -> Iterator[str]:
    if not counts:
        yield from ("No origin had a closed label window, or too few customers bought any one target.", "")
        return
    yield from ("| origin | role | customers | pairs | bought |", "| --- | --- | --- | --- | --- |")
    for count in counts:
        size = f"{count['customers']:,} | {count['rows']:,} | {count['bought']:.4f}"
        yield f"| {count['origin']} | {count['role']} | {size} |"
    yield from (
        "",
        "Of the pairs that are learnt from (`fit`, `stop`) those without a purchase are a sample. Pairs with role "
        "`calibrate` are of other customers, all of theirs, and turn scores into probabilities.",
        "",
    )


def _methods(each: Mapping[str, Any]) -> Iterator[str]:
    config = each["config"]
    if "kept_apart" not in config:
        yield from ("Too little to learn from: the rules alone are kept.", "")
        return
    yield from ("| method | settings | mean AUC within a target, customers kept apart |", "| --- | --- | --- |")
    for name in each["methods"]:
        fitted, reached = each["classifiers"].get(name), config["kept_apart"].get(name)
        told = "a rule" if fitted is None else ", ".join(f"{key} {value}" for key, value in fitted["settings"].items())
        yield f"| {name} | {told} | {'undefined' if reached is None else f'{reached:.4f}'} |"
    if (control := config["shuffled_labels"]["auc"]) is not None:
        yield from ("", f"Control: trained on shuffled labels, the AUC on customers kept apart is {control:.3f}.")
    yield ""


def _limits() -> tuple[str, ...]:
    return (
        "## Limits",
        "",
        "- What counts is `propensity_scorecard`: it grades every method out of time and names the one to publish.",
        "- Only the targets with most buyers are asked for; rarer ones are left to recommendations.",
        "- A purchase counts, also where it was given back later.",
        "- Probabilities hold on average over pairs that score alike; they are no verdict on one person, and reasons "
        "are reasons of the score, not causes of a purchase.",
    )
