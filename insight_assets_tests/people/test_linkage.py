"""Customers without shared keys: who is probably one person, that it is off by default, and that nobody is told of."""

import importlib.util
import sys
from datetime import date

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import load_source
from insight_assets.lake import Lake
from insight_assets.people.identities import CLUSTER_TOO_LARGE, Identities, IdentityRules
from insight_assets.people.linkage import (
    DESCRIBED,
    PROBABLE,
    PROPOSED,
    LinkageMissingError,
    describe_customers,
    join_probable,
    propose_links,
)
from insight_assets.settings import Settings
from insight_assets.validation.key_ring import ANALYTICS, VAULT, read_ring
from insight_assets.validation.pseudonyms import CUSTOMER, pseudonymiser
from insight_assets.validation.vault import IDENTITY_VAULT, open_identifiers, seal_identifiers
from insight_assets_tests.deliveries import lines
from insight_assets_tests.flows.shop import Home
from insight_assets_tests.people.described import CONTRACT, HEADER, form, frame, planted
from insight_assets_tests.people.links import day, link, login, people, reasons, resolve, table
from insight_assets_tests.validation.judging import PSEUDONYM, validate

with_splink = pytest.mark.skipif(
    importlib.util.find_spec("splink") is None, reason='Splink is not installed: pip install "insight-assets[linkage]"'
)
CANARY = {
    "name": "Canarina Birdsong", "postcode": "CANARY77", "birth_date": "1961-07-19", "street": "4471 Canarystreet",
}  # fmt: skip
AT = "2025-01-01T10:00:00Z"


def pairs(proposed: pl.DataFrame) -> set[tuple[int, int]]:
    return set(proposed.select("customer_key", "other_key").rows())


@pytest.fixture(scope="module")
def proposed() -> pl.DataFrame:
    return propose_links(frame(planted(300, 60)[0]), threshold=0.9)


@with_splink
def test_planted_duplicates_are_found_and_hardly_anybody_else(proposed):
    truth = planted(300, 60)[1]
    found = pairs(proposed)
    assert len(found & truth) >= 0.95 * len(found)
    assert len(found & truth) >= 0.8 * len(truth)
    assert proposed["probability"].is_between(0.9, 1).all()
    assert proposed.equals(proposed.sort("customer_key", "other_key"))


@with_splink
def test_neither_the_order_of_customers_nor_a_second_run_changes_anything(proposed):
    customers, _ = planted(300, 60)
    assert propose_links(frame(customers[::-1]), threshold=0.9).equals(proposed)


@with_splink
def test_a_customer_of_whom_nothing_is_known_is_linked_to_nobody(proposed):
    customers, _ = planted(300, 60)
    silent = [dict.fromkeys(DESCRIBED) | {"customer_key": key, "email_key": 9} for key in range(900_000, 900_020)]
    assert propose_links(frame(customers + silent), threshold=0.9).equals(proposed)
    assert propose_links(frame(silent), threshold=0.5).is_empty()
    assert propose_links(frame([]), threshold=0.5).is_empty()


def test_without_splink_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "splink", None)
    with pytest.raises(LinkageMissingError, match=r'pip install "insight-assets\[linkage\]"'):
        propose_links(frame(planted(4, 1)[0]), threshold=0.9)


def test_by_default_nobody_is_linked_by_likeness():
    # That nothing of it is imported then is said for all that is heavy, in `test_definitions`.
    assert Settings.model_fields["probable_links"].default == 0


def joined(found: Identities, *proposals: tuple[int, int, float], **rules: int) -> Identities:
    """Join customers by their numbers; those of 50 and more were first described on day 3."""
    given = [(1000 + one, 1000 + other, probability) for one, other, probability in proposals]
    frame_of = pl.DataFrame(given, schema=PROPOSED, orient="row")
    since = pl.DataFrame({"customer_key": [1050, 1051], "known_since": [day(3), day(3)]})
    return join_probable(found, frame_of, known_since=since, as_of=day(9), rules=IdentityRules(**rules))


SURE = (login(1, 1), login(2, 2, 2), login(3, 3, 4))


def test_probable_people_are_the_one_that_was_seen_first_as_surely_as_their_least_sure_link():
    found = joined(resolve(*SURE), (2, 1, 0.92), (2, 3, 0.97))
    assert people(found) == dict.fromkeys((1001, 1002, 1003, 2001, 2002, 2003), 1001)
    surely = dict(found.people.select("identifier_key", "confidence").rows())
    assert surely == {1001: 1.0, 1002: 0.92, 1003: 0.92, 2001: 0.95, 2002: 0.92, 2003: 0.92}


def test_customers_who_are_linked_to_nothing_else_get_a_row_when_they_are_joined():
    found = joined(resolve(*SURE), (50, 1, 0.9), (50, 51, 0.95))
    assert people(found) == people(resolve(*SURE)) | {1050: 1001, 1051: 1001}
    assert found.people.filter(pl.col("identifier_key") == 1050)["linked_since"].to_list() == [day(3)]


def test_a_probable_link_taken_away_is_as_if_it_had_never_been():
    sure = resolve(*SURE)
    assert joined(sure) == sure
    once, both = joined(sure, (1, 2, 0.9)), joined(sure, (1, 2, 0.9), (2, 3, 0.9))
    assert both.people.equals(joined(sure, (2, 3, 0.9), (1, 2, 0.9)).people)
    assert people(both)[1003] == 1001
    assert people(once)[1003] == 1003


def test_who_would_become_too_large_stays_apart_and_the_link_is_quarantined():
    found = joined(resolve(*SURE), (1, 2, 0.9), (50, 51, 0.99), identifiers_per_person=3)
    assert people(found) == people(resolve(*SURE)) | {1050: 1050, 1051: 1050}
    assert reasons(found) == {(PROBABLE, 1001, 1002, CLUSTER_TOO_LARGE)}
    large = joined(resolve(*SURE), (1, 50, 0.9), identifiers_per_person=2)
    assert people(large) == people(resolve(*SURE))


def test_an_address_in_quarantine_says_nothing_of_who_is_alike():
    shared = [link("email_of_customer", 1, customer) for customer in (1, 2, 3)]
    seen = [*shared, link("email_of_customer", 2, 1), link("phone_of_customer", 4, 2)]
    found = resolve(*seen)
    said = pl.DataFrame({"customer_key": [1001, 1002], "kind": ["name", "name"], "value": ["ann", "bea"]})
    rows = describe_customers(said, table(*seen).collect(), found.quarantined).sort("customer_key")
    assert rows.select("customer_key", "name", "email_key", "phone_key").rows() == [
        (1001, "ann", 3002, None), (1002, "bea", None, 4004),
    ]  # fmt: skip


@pytest.fixture
def club(tmp_path):
    (tmp_path / "club.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    return load_source(tmp_path / "club.odcs.yaml")


def test_what_describes_customers_goes_sealed_into_the_vault_and_nowhere_else(club, tmp_path):
    moved = CANARY | {"street": "Canary Row 9", "birth_date": "19.07.1961", "name": None}
    rows = [
        form("1", "ann", CANARY, at=AT), form("2", "ann", moved, at=AT.replace("10:", "12:")),
        form("3", "bob", CANARY, at=AT), form("4", "", CANARY | {"name": "Guest"}, at=AT),
    ]  # fmt: skip
    (found,) = validate(club, lines(HEADER, *rows), shop="UTC").values()
    ann, bob = (PSEUDONYM(CUSTOMER, each) for each in ("ann", "bob"))
    said = {(key, kind): value for key, kind, value in found.attributes.select("customer_key", "kind", "value").rows()}
    alike = {"name": "canarina birdsong", "postcode": "canary77", "birth_date": "1961-07-19"}
    assert said == {(key, kind): value for key in (ann, bob) for kind, value in alike.items()} | {
        (ann, "street"): "canary row 9", (bob, "street"): "4471 canarystreet",
    }  # fmt: skip
    assert "canar" not in "".join(each.write_json() for each in found.tables.values()).lower()

    read_ring(tmp_path / "key")
    ring = read_ring(tmp_path / "key")
    vault = seal_identifiers(
        {}, date(2025, 1, 1), pseudonym_key=ring.current(ANALYTICS).id, vault_key=ring.current(VAULT),
        attributes=found.attributes,
    )  # fmt: skip
    assert "canar" not in vault.write_json().lower()
    # One name of two customers does not look alike.
    assert vault["identifier"].n_unique() == vault.height == len(said)
    opened = open_identifiers(vault, ring).select("pseudonym", "kind", "identifier").rows()
    assert {(key, kind): value for key, kind, value in opened} == said


def test_the_last_word_of_a_day_counts_whatever_the_order_of_rows(club):
    hours = [
        form(str(n), "ann", CANARY | {"street": f"road {n % 7}"}, at=AT.replace("10:", f"1{n % 4}:")) for n in range(9)
    ]
    (one,), (other,) = (
        validate(club, lines(HEADER, *rows), shop="UTC").values() for rows in (hours, hours[::-1])
    )
    assert one.attributes.drop("event_time").equals(other.attributes.drop("event_time"))
    assert one.attributes.filter(pl.col("kind") == "street")["value"].to_list() == ["road 3"]


PEOPLE = ("--select", "group:raw or group:validated or group:people or key:sessions or key:customer_days")


@pytest.mark.slow
def test_a_shop_without_keys_finds_its_people_when_it_asks_for_it(tmp_path):
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "club.odcs.yaml").write_text(CONTRACT, encoding="utf-8")
    customers, truth = planted(60, 20)
    customers += [CANARY | {"customer_key": "canary"}, CANARY | {"customer_key": "canary again"}]
    rows = [form(str(n), who["customer_key"], who, at=AT) for n, who in enumerate(customers)]
    (tmp_path / "forms.csv").write_text(lines(HEADER, *rows), encoding="utf-8")
    off = Home(tmp_path / "home", {"INSIGHT_SOURCES": str(tmp_path / "contracts")})
    on = Home(off.path, off.settings | {"INSIGHT_PROBABLE_LINKS": "0.9"})
    off.run("land", "club", str(tmp_path / "forms.csv"))
    assert off.build(*PEOPLE)["failures"] == []
    assert identities(off) == {}
    assert len(off.show(IDENTITY_VAULT, "--limit", "1000")) == len(customers) * 5

    told = on.run("build", *PEOPLE, expect=None)
    if importlib.util.find_spec("splink") is None:
        assert told.returncode != 0
        assert 'pip install "insight-assets[linkage]"' in " ".join((told.stdout + told.stderr).split())
    else:
        assert told.returncode == 0, told.stdout + told.stderr
        pseudonym = pseudonymiser(read_ring(off.path / "secrets" / "pseudonym.key").current(ANALYTICS).secret)
        person = identities(on)
        assert person[pseudonym(CUSTOMER, "canary")] == person[pseudonym(CUSTOMER, "canary again")]
        merged = [(str(a), str(b)) for a, b in truth]
        hits = sum(len({person.get(pseudonym(CUSTOMER, each), each) for each in pair}) == 1 for pair in merged)
        assert hits >= 0.8 * len(merged)
        # Taken away again, it leaves no trace.
        assert off.build(*PEOPLE)["failures"] == []
        assert identities(off) == {}
    assert seen_outside_raw(off) == []
    assert not any(value in told.stdout + told.stderr for value in CANARY.values())


def identities(home: Home) -> dict[int, int]:
    rows = Lake(home.path / "lake").scan(contract("identities")).collect()
    return dict(rows.select("identifier_key", "customer_key").rows())


def seen_outside_raw(home: Home) -> list[str]:
    """Name the files with a canary, as delivered or as written for linkage, but for landing, raw and quarantine."""
    words = [word.encode() for value in CANARY.values() for word in {value, value.lower()}]
    found = []
    for path in home.path.rglob("*"):
        place = path.relative_to(home.path).parts
        allowed = place[0] == "landing" or place[:2] in {("lake", "raw_club"), ("lake", "quarantine")}
        if not path.is_file() or (allowed and "_delta_log" not in place):
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += pl.read_parquet(path, hive_partitioning=False).write_json().encode()
        if any(word in data for word in words):
            found.append(str(path.relative_to(home.path)))
    return found
