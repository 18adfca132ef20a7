"""The rules for robots and internal traffic: the shipped ones load, and one that errs is refused with its place."""

from pathlib import Path

import pytest

from insight_assets.contracts.catalogue import shipped_folder
from insight_assets.contracts.traffic import load_traffic, traffic_rules
from insight_assets.contracts.types import ContractError

SHIPPED = shipped_folder() / "traffic" / "traffic.odcs.yaml"


def changed(folder: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = folder / "traffic.odcs.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_shipped_rules_obey_the_standard():
    rules = load_traffic(SHIPPED, linted=True)
    assert [(rule.name, rule.verdict) for rule in rules.events] == [
        ("internal_loopback", "internal"), ("bot_user_agent", "bot"),
    ]  # fmt: skip
    assert {rule.verdict for rule in rules.actor_days} == {"bot"}


def test_a_shop_s_own_rules_replace_the_shipped_ones(tmp_path):
    own = traffic_rules(changed(tmp_path, "'127.'", "'10.'"))
    assert "'10.'" in own.events[0].sql
    assert own.digest != traffic_rules().digest


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("name: internal_loopback", "name: loopback_internal", "unknown verdict"),
        ("name: bot_user_agent", "name: internal_loopback", "is taken already"),
        ("STARTS_WITH(ip, '127.')", "STARTS_WITH(address, '127.')", "unknown column in SQL 'address'"),
        ("ip = '::1' OR STARTS_WITH(ip, '127.')", "LOWER(ip)", "is no test"),
        ("ip = '::1' OR STARTS_WITH(ip, '127.')", "ip = (", "SQL cannot be parsed"),
        ("product_views >= 100 AND", "MAX(product_views) >= 100 AND", "one row only"),
        ("ip, logicalType: string, physicalType: String", "ip, logicalType: string, physicalType: Int64", "ip is String"),
        ("{name: country,", "{name: shoe_size,", "unknown column of event 'shoe_size'"),
        ("domain: traffic", "domain: validated", "unknown domain"),
        ("- name: actor_day", "- name: actor", "schema must list"),
        ('description: "The browser names itself as a robot or a program"', "severity: error", "key of a traffic rule"),
    ],
)  # fmt: skip
def test_a_rule_that_errs_is_refused(tmp_path, old, new, complaint):
    path = changed(tmp_path, old, new)
    with pytest.raises(ContractError, match=complaint) as refused:
        load_traffic(path)
    assert refused.value.line
