"""The model card: what churn models were made from, how, how good they are, and what they cannot do.

Written from what training noted down, in Markdown, so that a person can read it beside the model's files.
"""

from collections.abc import Mapping
from typing import Any

CARD_FILE = "MODEL_CARD.md"


def model_card(config: Mapping[str, Any]) -> str:
    """Write the card of trained models.

    Args:
        config: The config of `ChurnModels`.

    Returns:
        Markdown; equal configs give equal cards.
    """
    return "\n".join([*_purpose(config), *_data(config), *_methods(config), *_limits(config)]) + "\n"


def _purpose(config: Mapping[str, Any]) -> list[str]:
    days = config["horizon_days"]
    return [
        "# Churn models",
        "",
        f"They foretell whether a customer who has bought before buys nothing in the {days} days after the as-of day.",
        f"Code version {config['code_version']}, data hash `{config['data_hash']}`"
        + (f", seed {config['seed']}." if "seed" in config else "."),
        "",
    ]


def _data(config: Mapping[str, Any]) -> list[str]:
    lines = ["## Data", ""]
    if not config["examples"]:
        return [*lines, "No origin had a closed label window: the recency rule alone is kept.", ""]
    lines += ["| origin | role | rows | churned |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {count['origin']} | {count['role']} | {count['rows']:,} | {count['churned']:.3f} |"
        for count in config["examples"]
    ]
    lines += [
        "",
        "Rows with role `fit` and `stop` are learnt from; those with role `calibrate` are of other customers, at the "
        "newest origin alone, and turn scores into probabilities. No label window reaches beyond the as-of day.",
        "",
    ]
    if features := config.get("features"):
        lines += [f"{len(features)} features: {', '.join(features)}.", ""]
    return lines


def _methods(config: Mapping[str, Any]) -> list[str]:
    lines = ["## Methods", ""]
    apart = config.get("kept_apart")
    if apart is None:
        return [*lines, "recency: the longer ago the last purchase, the likelier gone.", ""]
    lines += ["| method | settings | AUC on customers kept apart |", "| --- | --- | --- |"]
    for name in config["methods"]:
        reached = apart.get(name)
        lines.append(f"| {name} | {_settings(config, name)} | {'undefined' if reached is None else f'{reached:.4f}'} |")
    return [
        *lines,
        "",
        "Settings were chosen by cross-validation among the customers that are learnt from, by mean AUC. What counts "
        "is the scorecard of this as-of day, `churn_scorecard`: it grades every method out of time, on the horizon "
        "that follows, once that has closed, and names the one that may be published.",
        "",
    ]


def _settings(config: Mapping[str, Any], name: str) -> str:
    if name in config["classifiers"]:
        return ", ".join(f"{key} {value}" for key, value in config["classifiers"][name]["settings"].items())
    if name == "blend":
        return ", ".join(f"{part} {weight}" for part, weight in config["blend"]["weights"].items())
    if name == "network":
        kept = min(config["epochs"], key=lambda epoch: epoch[2])
        return f"width {config['network']['width']}, {int(kept[0]) + 1} epochs"
    return "days since the last order"


def _limits(config: Mapping[str, Any]) -> list[str]:
    control = (config.get("shuffled_labels") or {}).get("auc")
    lines = [
        "## Limits",
        "",
        "- A churned customer is one who did not order in the window; who comes back later counts as churned too.",
        "- Only customers who have bought before are scored. Visitors who never did have no churn to foretell.",
        "- Probabilities hold on average over customers who score alike, as the interval beside each says; they are no "
        "verdict on one person, and reasons are reasons of the score, not causes of the churn.",
        "- A change of the shop after the newest origin (prices, season, a new channel) is not known to the models.",
    ]
    if control is not None:
        lines.append(f"- Control: trained on shuffled labels, the AUC on customers kept apart is {control:.3f}.")
    return lines
