"""A key is rotated, and a person suppressed, in a home with profiles of several days: nothing of the old stays."""

import json
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract, contracts
from insight_assets.lake import Lake
from insight_assets.validation.key_ring import ANALYTICS, read_ring
from insight_assets.validation.pseudonyms import CUSTOMER, pseudonymiser
from insight_assets.validation.vault import IDENTITY_VAULT, open_identifiers
from insight_assets_tests.deliveries import call, order, product
from insight_assets_tests.flows.shop import Home

DAYS = ("2025-01-01", "2025-01-02", "2025-01-03")
PEOPLE = ("anna", "bert", "cleo", "dora", "emil", "fina", "gero", "hedi", "ilse", "jens")
"""So many that no key, which decides who is learnt from, leaves nobody to learn from."""


def land(folder: Path) -> None:
    for place, day in enumerate(DAYS):
        rows = []
        for number, who in enumerate(PEOPLE):
            seen = {"userId": who, "anonymousId": f"device of {who}"}
            rows += [call(f"{day} {who} {n}", f"{day}T1{number}:{n:02}:00Z", **seen) for n in range(3)]
            if number != place:
                bought = product("p1", number + 1, 5.0 + place)
                rows.append(
                    order(
                        f"{day} {who} order",
                        f"{day}T1{number}:30:00Z",
                        bought,
                        **seen,
                        properties={"order_id": f"{day} {who}"},
                    )
                )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{day}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))


def tables(home: Home) -> dict[str, pl.DataFrame]:
    lake = Lake(home.path / "lake")
    return {name: lake.scan(contract(name)).collect() for name in contracts() if lake.exists(name)}


def keys_of(home: Home) -> dict[int, str]:
    """Give who stands behind each pseudonym that the vault holds now."""
    vault = Lake(home.path / "lake").scan(contract(IDENTITY_VAULT)).collect()
    opened = open_identifiers(vault, read_ring(home.path / "secrets" / "pseudonym.key"))
    return {key: f"{kind} {identifier}" for kind, key, identifier in opened.iter_rows()}


def holders(found: dict[str, pl.DataFrame], keys: set[int]) -> set[str]:
    """Name the tables that hold one of some pseudonyms, in whatever column."""
    old = pl.Series(sorted(keys), dtype=pl.Int64).implode()
    return {
        name
        for name, frame in found.items()
        for column in frame.select(pl.col(pl.Int64, pl.List(pl.Int64))).iter_columns()
        if (column.explode() if column.dtype == pl.List else column).is_in(old).any()
    }


def said_of_people(found: dict[str, pl.DataFrame], who: dict[int, str]) -> list[dict]:
    """Give the profiles with the names of people instead of pseudonyms."""
    # In what order the encoder learns from customers is decided by their pseudonyms.
    profiles = (
        found["customer_profiles"]
        .drop("behaviour_vector", "behaviour_model_version")
        .with_columns(pl.col("customer_key").replace_strict(who, return_dtype=pl.String))
    )
    return profiles.sort("as_of", "customer_key").to_dicts()


@pytest.mark.slow
def test_a_rotated_key_and_a_suppressed_person_leave_no_trace_in_any_current_table(tmp_path):
    home = Home(tmp_path / "home")
    land(home.path / "landing" / "segment")
    report = home.build("--as-of", DAYS[1], "--as-of", DAYS[2])
    assert report["failures"] == []
    before, who = tables(home), keys_of(home)
    assert sorted(who.values()) == sorted(
        [f"customer {each}" for each in PEOPLE] + [f"visitor device of {each}" for each in PEOPLE]
    )
    pseudonymous = holders(before, set(who))
    assert {"events", "orders", "identity_vault", "customer_features", "customer_profiles"} <= pseudonymous
    assert set(before["customer_profiles"]["as_of"].cast(pl.String)) == set(DAYS[1:])

    old = read_ring(home.path / "secrets" / "pseudonym.key").current(ANALYTICS)
    told = home.run("rotate-key").stderr
    assert "analytics-2 is the key" in told
    assert old.secret.hex()[:12] not in told
    assert home.build()["failures"] == []
    after, renamed = tables(home), keys_of(home)
    assert sorted(renamed.values()) == sorted(who.values())
    assert not set(renamed) & set(who)
    assert holders(after, set(who)) == set()
    assert holders(after, set(renamed)) == pseudonymous
    assert said_of_people(after, renamed) == said_of_people(before, who)
    assert home.build()["runs"] == 0
    # Exports made with the old key can still be told apart, until it is dropped.
    assert (
        pseudonymiser(read_ring(home.path / "secrets" / "pseudonym.key").find(old.id).secret)(CUSTOMER, "anna") in who
    )

    home.run("suppress", "anna")
    home.run("suppress", "device of anna")
    assert home.build()["failures"] == []
    left = tables(home)
    gone = {key for key, name in renamed.items() if name.endswith("anna")}
    assert holders(left, gone) == set()
    assert sorted(keys_of(home).values()) == sorted(name for name in renamed.values() if not name.endswith("anna"))
    kept = [row for row in said_of_people(after, renamed) if not row["customer_key"].endswith("anna")]
    assert [row["customer_key"] for row in said_of_people(left, renamed)] == [row["customer_key"] for row in kept]
