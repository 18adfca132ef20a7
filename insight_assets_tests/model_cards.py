"""Model cards read back: their sections and tables, and what every card must hold to."""

import re
from collections.abc import Iterable, Mapping
from datetime import date

from insight_assets.contracts.catalogue import contract, contracts
from insight_assets.ml.model_card import Making

SECTIONS = ["For", "Not for", "Taught by", "Methods", "Calibration", "Guards", "Grades", "Limits"]
MAKING = Making(
    asset="churn_models", as_of=date(2024, 5, 29), owners=("team:insight",), purpose="analytics",
    silence_is_consent=True, code_version="3", reads=(f"churn_examples {contract('churn_examples').version}",), seed=11,
    smallest_group=10,
)  # fmt: skip
GRADED_IN = {
    "behaviour_encoder": {"recommendation_scorecard"},
    "churn_models": {"churn_scorecard", "ledger_grades"},
    "intent_models": {"intent_scorecard", "purchase_7d_grades", "purchase_30d_grades"},
    "session_intent_models": {"session_intent_scorecard", "session_intent_grades"},
    "lifetime_value_models": {"lifetime_value_scorecard", "ledger_grades", "value_365d_grades"},
    "recommendation_models": {"recommendation_scorecard", "ledger_grades"},
    "propensity_models": {"propensity_scorecard", "ledger_grades"},
    "customer_clusters": {"clustering_scorecard"},
}
"""Asset to the tables that say how good its models are."""


def section(card: str, heading: str, below: str = "") -> str:
    """Give the text of a section, or of a part of it."""
    text = re.split(r"^## ", card, flags=re.MULTILINE)
    found = next(part for part in text if part.startswith(f"{heading}\n"))
    if below:
        found = next(part for part in re.split(r"^### ", found, flags=re.MULTILINE) if part.startswith(f"{below}\n"))
    return found


def tables(text: str) -> list[list[dict[str, str]]]:
    """Give the tables of a text, each as its rows by the names in its head."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, flags=re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip()[1:-1].split(" | ")] for line in block.strip().splitlines()]
        found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


def facts(card: str) -> dict[str, str]:
    """Give what the run knew, by name."""
    return {row["made"]: row["of"] for row in tables(card)[0]}


def in_one_line(settings: Mapping[str, object]) -> str:
    """Write settings as cards do."""
    return ", ".join(f"{name} {value}" for name, value in sorted(settings.items()))


def number(text: str) -> int:
    """Read a number as cards write it."""
    return int(text.replace(",", ""))


def demand_sound(card: str, keys: Iterable[int], *, asset: str, told: Mapping[str, str]) -> None:
    """Demand of a card what all of them owe.

    Args:
        card: Its text.
        keys: Keys of all customers that taught the model.
        asset: Name of the asset.
        told: What the run knew, by name.
    """
    assert re.findall(r"^## (.*)$", card, flags=re.MULTILINE) == SECTIONS
    found = facts(card)
    assert found["asset"] == f"`{asset}`"
    assert {name: found[name] for name in told} == dict(told)
    for read in found["reads"].split(", "):
        name, version = read.split(" ")
        assert contracts()[name].version == version
    grades = re.findall(r"^- `(\w+)`: ", section(card, "Grades"), flags=re.MULTILINE)
    assert GRADED_IN[asset] <= set(grades) <= set(contracts())
    numbers = set(re.findall(r"\d+", card.replace(",", "")))
    # Keys below a thousand are those of toy shops, and look like any other number.
    assert not numbers & {str(key) for key in keys if key > 1_000}
    assert not re.search(r"CPU|wall_|peak memory|/tmp|\d{2}:\d{2}", card)
