"""People through Dagster: from delivered calls to features, with consent, and with a link taken away again."""

import os
from pathlib import Path
from unittest import mock

import dagster as dg
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.definitions import build_defs
from insight_assets.validation.identifiers import EMAIL
from insight_assets.validation.pseudonyms import CUSTOMER, VISITOR
from insight_assets_tests.deliveries import call, order, product
from insight_assets_tests.shop_home import ShopHome, failures

FIRST, SECOND, THIRD = "2025-01-01", "2025-01-02", "2025-01-03"
DAILY = ("sessions", "customer_days")
SNAPSHOTS = ("identities", "quarantined_links", "consents", "customer_features", "event_sequences")


def first_day() -> list[dict]:
    """A visitor looks at two products; Bea, who is signed in, at one."""
    views = [call(f"a{n}", f"{FIRST}T10:0{n}:00Z", anonymousId="v1", userId=None) for n in range(2)]
    return [*views, call("b1", f"{FIRST}T11:00:00Z", anonymousId="v2", userId="bea")]


def second_day(*, visitor: str | None = "v1") -> list[dict]:
    """The visitor signs in as Ann and buys; Bea withdraws her consent to analytics."""
    bought = order("a3", f"{SECOND}T10:00:00Z", product(), anonymousId=visitor, userId="ann")
    word = {"purpose": "analytics", "granted": False, "product_id": None, "price": None}
    return [
        bought,
        call("b2", f"{SECOND}T11:00:00Z", "Consent Updated", anonymousId="v2", userId="bea", properties=word),
    ]


def build(home: ShopHome, *as_of: str, days: tuple[str, str] = (FIRST, SECOND)) -> dict[str, dg.ExecuteInProcessResult]:
    """Make the tables of the days and what they tell of people as of some days."""
    home.build(*days)
    with mock.patch.dict(os.environ, {"INSIGHT_TIMEZONE": home.timezone}):
        job = build_defs(resources=home.resources()).resolve_implicit_global_asset_job_def()
    span = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[1]}
    results = {}
    for key, names, tags in [(None, DAILY, span), *((day, SNAPSHOTS, {}) for day in as_of)]:
        result = job.execute_in_process(
            instance=home.instance, asset_selection=[dg.AssetKey(name) for name in names], partition_key=key, tags=tags,
            raise_on_error=False,
        )  # fmt: skip
        assert result.success, failures(result)
        results[key or "days"] = result
    return results


def features(home: ShopHome, day: str) -> dict[int, tuple[int, int]]:
    rows = home.table("customer_features", day).select("customer_key", "product_views_30d", "orders_lifetime").rows()
    return {key: (views, orders) for key, views, orders in rows}


def test_browsing_joins_the_customer_once_known_and_a_withdrawal_counts_from_its_day(home):
    home.land_calls("first.ndjson", first_day())
    home.land_calls("second.ndjson", second_day())
    results = build(home, SECOND, FIRST)
    pseudonym = home.resources()["key"].pseudonym()
    ann, bea = pseudonym(CUSTOMER, "ann"), pseudonym(CUSTOMER, "bea")
    assert features(home, FIRST) == {bea: (1, 0)}
    assert features(home, SECOND) == {ann: (2, 1)}
    sequences = home.table("event_sequences", SECOND)
    assert sequences.select("customer_key", "events").rows() == [(ann, 3)]
    told = results[SECOND].asset_materializations_for_node("customer_features")[0].metadata
    assert told["people_without_consent"].value == 1
    assert told["partition_card"].value.endswith("Fewer than 10 people had refused analytics; they are not in it.")
    who = home.table("identities", SECOND).filter(pl.col("identifier_type") == "visitor")
    assert dict(who.select("identifier_key", "customer_key").rows())[pseudonym(VISITOR, "v1")] == ann


def test_a_link_taken_away_leaves_people_as_if_it_had_never_been(home, tmp_path):
    home.land_calls("first.ndjson", first_day())
    home.land_calls("second.ndjson", second_day())
    build(home, SECOND)
    held = [home.states(name)[SECOND].content_hash for name in ("identities", "customer_features")]
    home.land_calls("second.ndjson", second_day(visitor=None))
    results = build(home, SECOND)
    told = results[SECOND].asset_materializations_for_node("people")[0].metadata
    # The browser, and the account: nothing is linked to it any more.
    assert told["changes_since_last_build"].value == {"merged": 0, "unmerged": 0, "joined": 0, "left": 2}
    ann = home.resources()["key"].pseudonym()(CUSTOMER, "ann")
    assert features(home, SECOND) == {ann: (0, 1)}
    with dg.DagsterInstance.ephemeral() as instance:
        never = ShopHome(tmp_path / "never", instance)
        copy_keys(home.root, never.root)
        never.land_calls("first.ndjson", first_day())
        never.land_calls("second.ndjson", second_day(visitor=None))
        build(never, SECOND)
        for name in SNAPSHOTS:
            assert never.states(name)[SECOND].content_hash == home.states(name)[SECOND].content_hash, name
    assert held != [home.states(name)[SECOND].content_hash for name in ("identities", "customer_features")]


def test_accounts_with_one_address_are_one_person_and_apart_again_without_it(home):
    def calls(mail: str) -> list[dict]:
        web, app = (
            {"channel": channel, "traits": {"email": address, "phone": None}}
            for channel, address in (("web", mail), ("app", "ann@example.com"))
        )
        one = order("a1", f"{FIRST}T10:00:00Z", product(), userId="ann", context=web)
        second = {"userId": "ann-2", "anonymousId": "v9", "context": app, "properties": {"order_id": "o2"}}
        two = order("a2", f"{FIRST}T11:00:00Z", product(), **second)
        return [one, two]

    home.land_calls("first.ndjson", calls("Ann@Example.com"))
    build(home, FIRST, days=(FIRST, FIRST))
    pseudonym = home.resources()["key"].pseudonym()
    ann, second = pseudonym(CUSTOMER, "ann"), pseudonym(CUSTOMER, "ann-2")
    assert features(home, FIRST) == {ann: (0, 2)}
    mails = home.table("identities", FIRST).filter(pl.col("identifier_type") == "email")["identifier_key"].to_list()
    assert mails == [pseudonym(EMAIL, "ann@example.com")]
    home.land_calls("first.ndjson", calls("somebody@example.com"))
    results = build(home, FIRST, days=(FIRST, FIRST))
    assert features(home, FIRST) == {ann: (0, 1), second: (0, 1)}
    changes = results[FIRST].asset_materializations_for_node("people")[0].metadata["changes_since_last_build"].value
    assert (changes["merged"], changes["unmerged"]) == (0, 1)


def test_features_are_refused_while_it_is_not_known_who_is_who(home):
    home.land_calls("first.ndjson", first_day())
    home.build(FIRST)
    job = build_defs(resources=home.resources()).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=home.instance,
        asset_selection=[dg.AssetKey("customer_features")],
        partition_key=FIRST,
        raise_on_error=False,
    )
    (failed,) = failures(result)
    assert f"identities as of {FIRST} must be made before customer_features" in failed
    assert not home.lake.exists("customer_features")


def test_contracts_of_people_say_what_is_a_pseudonym():
    for name in ("identities", "quarantined_links", "identity_links", "consents"):
        keys = [column for column in contract(name).columns if column.name.endswith("_key")]
        assert keys
        assert {column.classification for column in keys} == {"pseudonym"}


def copy_keys(home: Path, other: Path) -> None:
    """Give another home the same keys, so that people have the same pseudonyms."""
    other.mkdir(parents=True, exist_ok=True)
    for path in home.glob("*.key"):
        (other / path.name).write_bytes(path.read_bytes())
        (other / path.name).chmod(0o600)
