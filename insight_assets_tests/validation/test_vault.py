"""The identity vault: who stands behind a pseudonym, for whoever holds the key."""

from datetime import date

import polars as pl
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.lake import hash_frame
from insight_assets.validation.key_ring import ANALYTICS, VAULT, drop_retired_keys, read_ring, rotate_key
from insight_assets.validation.pseudonyms import CUSTOMER, IDENTITY, VISITOR, pseudonymiser
from insight_assets.validation.vault import IDENTITY_VAULT, Witness, open_identifiers, seal_identifiers
from insight_assets_tests.deliveries import call, order, product

DAY = date(2025, 1, 1)


@pytest.fixture
def key_file(tmp_path):
    read_ring(tmp_path / "key")
    return tmp_path / "key"


def sealed(key_file, *seen: tuple[str, str]) -> pl.DataFrame:
    ring = read_ring(key_file)
    witness = Witness(pseudonymiser(ring.current(ANALYTICS).secret))
    for kind, identifier in seen:
        witness(kind, identifier)
    return seal_identifiers(witness.seen, DAY, pseudonym_key=ring.current(ANALYTICS).id, vault_key=ring.current(VAULT))


@given(
    identifiers=st.sets(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=20))
)
def test_who_holds_the_key_finds_everybody_again(tmp_path_factory, identifiers):
    key_file = tmp_path_factory.mktemp("keys") / "key"
    rows = sealed(key_file, *((CUSTOMER, each) for each in identifiers), (VISITOR, "device"), (IDENTITY, "row:1"))
    ring = read_ring(key_file)
    pseudonym = pseudonymiser(ring.current(ANALYTICS).secret)
    validate_frame(contract(IDENTITY_VAULT), rows)
    expected = {(CUSTOMER, pseudonym(CUSTOMER, each), each) for each in identifiers}
    assert set(open_identifiers(rows, ring).rows()) == expected | {(VISITOR, pseudonym(VISITOR, "device"), "device")}


def test_a_day_made_again_has_the_content_it_had_and_no_identifier_in_the_clear(key_file):
    seen = [(CUSTOMER, "canary.bird@example.com"), (VISITOR, "canary-device")]
    rows, again = sealed(key_file, *seen), sealed(key_file, *reversed(seen))
    of = contract(IDENTITY_VAULT)
    assert hash_frame(rows, of) == hash_frame(again, of)
    assert "canary" not in rows.write_json()


def test_one_identifier_of_two_kinds_is_two_rows_that_do_not_look_alike(key_file):
    rows = sealed(key_file, (CUSTOMER, "a"), (VISITOR, "a"), (CUSTOMER, " a "))
    assert rows.height == rows["identifier"].n_unique() == rows["pseudonym"].n_unique() == 2


def test_a_row_that_was_tampered_with_is_not_opened(key_file):
    rows = sealed(key_file, (CUSTOMER, "a"), (CUSTOMER, "b"))
    swapped = rows.with_columns(kind=pl.lit(VISITOR))
    with pytest.raises(InvalidTag):
        open_identifiers(swapped, read_ring(key_file))


def test_rows_of_a_retired_key_are_opened_until_it_is_dropped(key_file):
    old = sealed(key_file, (CUSTOMER, "a"))
    rotate_key(key_file, VAULT)
    rows = pl.concat([old, sealed(key_file, (CUSTOMER, "a"))])
    assert rows["vault_key"].to_list() == ["vault-1", "vault-2"]
    assert open_identifiers(rows, read_ring(key_file))["identifier"].to_list() == ["a"]
    drop_retired_keys(key_file, VAULT)
    with pytest.raises(KeyError, match="vault-1"):
        open_identifiers(rows, read_ring(key_file))


def test_the_vault_of_a_built_day_holds_exactly_the_people_its_rows_named(home):
    day, time = "2025-01-01", "2025-01-01T10:00:00Z"
    home.land_calls(
        "a.ndjson",
        [
            call("1", time, userId="anna", anonymousId="v1"),
            order("2", time, product(), userId=" anna", anonymousId=None),
            call("3", time, userId=None, anonymousId="v2"),
        ],
    )
    home.build(day)
    ring = read_ring(home.root / "pseudonym.key")
    found = open_identifiers(home.table(IDENTITY_VAULT, day), ring)
    named = found.select("kind", "identifier").sort("kind", "identifier").rows()
    assert named == [("customer", "anna"), ("visitor", "v1"), ("visitor", "v2")]
    known = set(found["pseudonym"])
    events = home.table("events", day)
    assert set(events["customer_key"].drop_nulls()) | set(events["visitor_key"].drop_nulls()) == known
    assert home.states(IDENTITY_VAULT)[day].rows == 3
