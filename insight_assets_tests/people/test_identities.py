"""Who is who: merging under dated rules, what is never merged, and that a link taken away leaves no trace."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.people.identities import (
    CLUSTER_TOO_LARGE,
    JOINS_CUSTOMERS,
    OTHER_CUSTOMER,
    REASONS,
    REUSED_CONTACT,
    SHARED_CONTACT,
    SHARED_DEVICE,
    IdentityHistory,
    IdentityRules,
    cluster_sizes,
    compare_identities,
    components,
    quarantine_reasons,
    resolve_identities,
)
from insight_assets.validation.identifiers import LINK_KINDS
from insight_assets_tests.people.links import day, link, login, people, reasons, resolve, table


def test_a_visitor_that_signs_in_is_the_customer_from_the_day_it_was_known():
    seen = login(1, 1, 5)
    assert people(resolve(seen, ahead=4)) == {}
    assert people(resolve(seen, ahead=5)) == {1001: 1001, 2001: 1001}


def test_accounts_that_share_an_address_are_the_one_that_was_seen_first():
    found = resolve(
        login(1, 2, 0), login(2, 1, 3), link("email_of_customer", 1, 1, 4), link("email_of_customer", 1, 2, 0)
    )
    assert people(found) == {1001: 1002, 1002: 1002, 2001: 1002, 2002: 1002, 3001: 1002}
    surely = dict(found.people.select("identifier_key", "confidence").rows())
    assert surely[1002] == 1.0
    assert surely[1001] == surely[2001] == 0.95


def test_a_browser_of_two_customers_is_shared_and_joins_neither():
    found = resolve(login(1, 1), login(1, 2), login(2, 2))
    assert people(found) == {1001: 1001, 1002: 1002, 2002: 1002}
    assert reasons(found) == {("login", 2001, 1001, SHARED_DEVICE), ("login", 2001, 1002, SHARED_DEVICE)}


def test_a_browser_of_two_accounts_of_one_person_is_not_shared():
    found = resolve(login(1, 1), login(1, 2), link("email_of_customer", 1, 1), link("email_of_customer", 1, 2))
    assert people(found)[2001] == 1001
    assert reasons(found) == set()


def test_a_device_joins_a_browser_that_never_signed_in():
    found = resolve(login(1, 1), link("device_of_visitor", 1, 1), link("device_of_visitor", 1, 2))
    assert people(found) == {1001: 1001, 2001: 1001, 2002: 1001, 5001: 1001}


def test_customers_are_never_joined_by_a_device_alone():
    family = [login(1, 1), login(2, 2), link("device_of_visitor", 1, 1), link("device_of_visitor", 1, 2)]
    found = resolve(*family, link("device_of_visitor", 1, 3))
    assert people(found) == {1001: 1001, 1002: 1002, 2001: 1001, 2002: 1002}
    assert {reason for *_, reason in reasons(found)} == {SHARED_DEVICE}
    allowed = resolve(*family, link("device_of_visitor", 1, 3), customers_per_device=2)
    assert people(allowed) == {1001: 1001, 1002: 1002, 2001: 1001, 2002: 1002}
    assert {reason for *_, reason in reasons(allowed)} == {JOINS_CUSTOMERS}


def test_a_chain_of_devices_joins_no_customers():
    chain = [
        login(1, 1), login(2, 2), link("device_of_visitor", 1, 1), link("device_of_visitor", 1, 3),
        link("device_of_visitor", 2, 3), link("device_of_visitor", 2, 2),
    ]  # fmt: skip
    found = resolve(*chain)
    assert people(found) == {1001: 1001, 1002: 1002, 2001: 1001, 2002: 1002}
    assert {reason for *_, reason in reasons(found)} == {JOINS_CUSTOMERS}


def test_where_a_device_may_have_several_customers_it_belongs_to_the_first():
    found = resolve(login(1, 2, 0), login(1, 1, 1), customers_per_device=2)
    assert people(found)[2001] == 1002
    assert reasons(found) == {("login", 2001, 1001, OTHER_CUSTOMER)}


def test_an_address_of_too_many_customers_makes_nobody_one():
    found = resolve(*(link("email_of_customer", 1, customer) for customer in (1, 2, 3)), link("email_of_visitor", 1, 9))
    assert people(found) == {1001: 1001, 1002: 1002, 1003: 1003}
    assert {reason for *_, reason in reasons(found)} == {SHARED_CONTACT}
    assert len(reasons(found)) == 4


@pytest.mark.parametrize(("later", "one_person"), [(180, True), (181, False)])
def test_a_number_that_comes_back_with_another_customer_after_a_long_pause_was_given_away(later, one_person):
    found = resolve(link("phone_of_customer", 1, 1, 0, 10), link("phone_of_customer", 1, 2, 10 + later), ahead=400)
    assert (people(found)[1002] == 1001) is one_person
    assert (REUSED_CONTACT in {reason for *_, reason in reasons(found)}) is not one_person


def test_a_person_with_too_many_identifiers_keeps_the_account_alone():
    found = resolve(*(login(visitor, 1) for visitor in range(1, 7)), identifiers_per_person=5)
    assert people(found) == {1001: 1001}
    assert {reason for *_, reason in reasons(found)} == {CLUSTER_TOO_LARGE}


def test_a_chain_of_addresses_that_grows_too_large_is_taken_apart():
    chain = [link("email_of_customer", n, n) for n in range(1, 5)] + [
        link("email_of_customer", n, n + 1) for n in range(1, 5)
    ]
    assert set(people(resolve(*chain)).values()) == {1001}
    found = resolve(*chain, identifiers_per_person=8)
    assert people(found) == {1000 + n: 1000 + n for n in range(1, 6)}


def test_rules_say_from_which_day_a_kind_of_link_counts():
    seen = [login(1, 1, 0), link("device_of_visitor", 1, 1, 0), link("device_of_visitor", 1, 2, 0, 6)]
    assert people(resolve(*seen, since={"device_of_visitor": None})) == {1001: 1001, 2001: 1001}
    dated = {"device_of_visitor": day(6)}
    assert 2002 not in people(resolve(*seen, link("device_of_visitor", 1, 1, 5), ahead=5, since=dated))
    assert people(resolve(*seen, link("device_of_visitor", 1, 1, 6), since=dated))[2002] == 1001
    with pytest.raises(ValueError, match="unknown kind of identity link 'cookie'"):
        IdentityRules(since={"cookie": None})


def test_identifiers_of_nobody_who_signed_in_are_counted_and_not_listed():
    found = resolve(link("device_of_visitor", 1, 1), link("email_of_visitor", 1, 1))
    assert people(found) == {}
    assert found.anonymous == 3


KINDS = st.sampled_from(sorted(LINK_KINDS))
LINKS = st.lists(
    st.tuples(KINDS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=25, unique=True
)


def told(links: list[tuple], *, ahead: int = 9) -> tuple[dict, set]:
    found = resolve(*(link(*each) for each in links), ahead=ahead)
    return dict(people(found)), reasons(found)


@given(LINKS, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_links_changes_nothing(links, order):
    assert told(order.sample(links, len(links))) == told(links)


@given(LINKS, LINKS)
@settings(max_examples=25)
def test_links_after_a_day_change_nothing_at_it(links, more):
    later = [(kind, identifier, linked, ahead + 10) for kind, identifier, linked, ahead in more]
    assert told(links + later) == told(links)


@given(LINKS, st.data())
@settings(max_examples=25)
def test_a_link_taken_away_is_as_if_it_had_never_been(links, data):
    gone = data.draw(st.sampled_from(links))
    kept = [each for each in links if each != gone]
    with_it = table(*(link(*each) for each in links))
    (row,) = link(*gone)
    same = pl.all_horizontal(
        pl.col(name) == row[name] for name in ("kind", "identifier_key", "linked_key", "event_day")
    )
    without = resolve_identities(with_it.filter(~same), as_of=day(9), rules=IdentityRules())
    assert (people(without), reasons(without)) == told(kept)


@given(LINKS)
@settings(max_examples=40)
def test_nobody_belongs_to_two_and_browsers_join_no_customers(links):
    found = resolve(*(link(*each) for each in links), ahead=9)
    of = contract("identities")
    rows = of.conform(found.people.with_columns(as_of=pl.lit(day(9))).lazy()).collect()
    assert all(rows.select(rule.passes.all()).item() for rule in of.row_rules())
    assert rows["identifier_key"].is_unique().all()
    assert not found.quarantined.select("kind", "identifier_key", "linked_key").is_duplicated().any()
    # The same links without addresses and numbers of customers: every account is a person of its own.
    alone = people(
        resolve(*(link(*each) for each in links if each[0] not in {"email_of_customer", "phone_of_customer"}), ahead=9)
    )
    assert all(alone[account] == account for account in alone if account < 2000)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_components_are_named_by_their_smallest_key_as_walking_from_each_key_finds_them(pairs, order):
    def reached(key: int) -> set[int]:
        found = {key}
        while more := {b for a, b in pairs + [(b, a) for a, b in pairs] if a in found} - found:
            found |= more
        return found

    shuffled = order.sample(pairs, len(pairs))
    frame = pl.DataFrame(shuffled, schema={"a": pl.Int64, "b": pl.Int64}, orient="row")
    keys = {key for pair in pairs for key in pair}
    assert dict(components(frame).rows()) == {key: min(reached(key)) for key in keys}


def test_a_day_is_the_same_whether_history_goes_on_or_not():
    links = table(login(1, 1, 0), login(2, 1, 5))
    history = IdentityHistory(links, IdentityRules())
    alone = IdentityHistory(links.filter(pl.col("event_day") <= day(3)), IdentityRules())
    assert history.as_of(day(3)).collect().equals(alone.as_of(day(3)).collect())
    assert history.as_of(day(5)).collect().height == 3


def test_merges_and_unmerges_are_counted_between_two_pictures():
    apart = resolve(login(1, 1), login(2, 2))
    mail = [link("email_of_customer", 1, 1), link("email_of_customer", 1, 2)]
    together = resolve(login(1, 1), login(2, 2), *mail)
    assert vars(compare_identities(apart.people, together.people)) == {
        "merged": 1,
        "unmerged": 0,
        "joined": 1,
        "left": 0,
    }
    assert vars(compare_identities(together.people, apart.people)) == {
        "merged": 0,
        "unmerged": 1,
        "joined": 0,
        "left": 1,
    }


def test_reports_show_groups_and_reasons_and_no_small_group():
    found = resolve(login(1, 1), login(2, 1), login(3, 2), login(9, 8), login(9, 9))
    sizes = cluster_sizes(found.people, smallest_group=1)
    assert sizes.rows() == [("1", 2), ("2", 1), ("3 to 5", 1)]
    assert cluster_sizes(found.people, smallest_group=2).rows() == [("1", 2)]
    assert quarantine_reasons(found.quarantined).rows() == [(SHARED_DEVICE, 2, REASONS[SHARED_DEVICE])]


def test_a_large_shop_is_resolved_as_each_of_its_people_alone():
    random = np.random.default_rng(1)
    links = [login(int(n), int(n) % 500, 0) for n in random.permutation(1000)]
    found = people(resolve(*links))
    assert all(found[2000 + n] == 1000 + n % 500 for n in range(1000))
