"""The last word of each person on each purpose, and whom an asset therefore does not see."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.people.consents import consent_counts, last_consents
from insight_assets.purposes import CONSENTED_PURPOSES, WITHOUT_RECORD, View, as_people, as_people_before
from insight_assets_tests.people.links import day, events, link, login, resolve, word
from insight_assets_tests.profiles.people import rows


def identities(*links: list[dict], ahead: int = 100) -> pl.LazyFrame:
    return resolve(*links, ahead=ahead).people.lazy()


def said(*words: dict, links: tuple = (), ahead: int = 100) -> dict[tuple[int, str], bool]:
    of = contract("consents")
    found = of.conform(last_consents(as_people(events(*words), identities(*links)), as_of=day(ahead))).collect()
    assert not found.select(of.primary_key).is_duplicated().any()
    return {
        (customer, purpose): granted
        for customer, purpose, granted in found.select("customer_key", "purpose", "granted").rows()
    }


def test_the_last_word_on_or_before_the_day_counts():
    words = [
        word("analytics", True, 0, customer=1),
        word("analytics", False, 3, customer=1),
        word("marketing", True, 9, customer=1),
    ]
    assert said(*words, ahead=2) == {(1001, "analytics"): True}
    assert said(*words, ahead=3) == {(1001, "analytics"): False}
    assert said(*words) == {(1001, "analytics"): False, (1001, "marketing"): True}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_words_at_once_refusal_counts_whatever_their_order(order):
    words = [word("analytics", True, 1, customer=1), word("analytics", False, 1, customer=1, source="other")]
    assert said(*(words[place] for place in order)) == {(1001, "analytics"): False}


def test_a_word_given_before_signing_in_counts_once_it_is_known_whose_it_was():
    words = [word("analytics", False, 1, visitor=1)]
    assert said(*words) == {}
    assert said(*words, links=(login(1, 1),)) == {(1001, "analytics"): False}
    assert said(*words, word("analytics", True, 2, customer=1), links=(login(1, 1),)) == {(1001, "analytics"): True}


def test_of_accounts_that_became_one_person_the_stricter_word_counts():
    mail = (link("email_of_customer", 1, 1), link("email_of_customer", 1, 2))
    words = [word("personalise", False, 1, customer=1), word("personalise", True, 5, customer=2)]
    assert said(*words, links=mail) == {(1001, "personalise"): False}
    assert said(*words) == {(1001, "personalise"): False, (1002, "personalise"): True}


def test_other_spellings_are_read_and_unknown_purposes_and_unclear_words_left_out():
    words = [
        word(" Personalization ", True, 1, customer=1), word("telepathy", True, 1, customer=1),
        word("analytics", None, 1, customer=1), word("analytics", True, 1, visitor=7),
    ]  # fmt: skip
    assert said(*words) == {(1001, "personalise"): True}


def test_counts_show_words_and_no_person():
    found = last_consents(
        as_people(events(word("analytics", False, 1, customer=1)), identities()), as_of=day(2)
    ).collect()
    assert consent_counts(found).rows() == [("analytics", False, 1)]


def view(purpose: str, *words: dict, links: tuple = (), ahead: int = 100, **without_record: bool) -> View:
    who = identities(*links, ahead=ahead)
    given_words = last_consents(as_people(events(*words), who), as_of=day(ahead))
    return View(purpose, who, given_words, dict(WITHOUT_RECORD) | without_record)


ACTED = rows("customer_days", [
    {"actor_key": 1001, "customer_key": 1001}, {"actor_key": 1002, "customer_key": 1002},
    {"actor_key": 2001, "customer_key": None},
]).lazy()  # fmt: skip


def seen(frame: pl.LazyFrame) -> list[tuple]:
    return sorted(frame.select("actor_key", "customer_key").collect().rows(), key=repr)


def test_who_withdraws_is_not_seen_afterwards_and_still_seen_as_of_the_days_before():
    words, links = [word("analytics", False, 5, customer=1)], (login(1, 1),)
    assert seen(view("analytics", *words, links=links, ahead=5).people(ACTED)) == [(1002, 1002)]
    assert seen(view("analytics", *words, links=links, ahead=4).people(ACTED)) == [
        (1001, 1001),
        (1002, 1002),
        (2001, 1001),
    ]
    assert seen(view("analytics", *words, links=links, ahead=5).actors(ACTED)) == [(1002, 1002)]
    assert view("analytics", *words, links=links, ahead=5).without_consent() == 1


def test_where_silence_is_refusal_only_those_are_seen_who_agreed():
    words = [word("marketing", True, 5, customer=1)]
    assert seen(view("marketing", *words).people(ACTED)) == [(1001, 1001)]
    assert seen(view("marketing", *words, marketing=True).people(ACTED)) == [(1001, 1001), (1002, 1002)]
    assert view("marketing", *words).without_consent() is None


def test_a_word_on_one_purpose_says_nothing_of_another():
    words = [word("analytics", False, 1, customer=1)]
    assert len(seen(view("personalise", *words).people(ACTED))) == 2


def test_snapshots_of_people_are_filtered_by_person():
    scores = rows("churn_scores", [{"customer_key": 1001}, {"customer_key": 1002}]).lazy()
    left = view("personalise", word("personalise", False, 1, customer=2)).people(scores)
    assert left.collect()["customer_key"].to_list() == [1001]


def test_what_people_turned_out_to_have_done_is_told_of_who_they_were_held_to_be():
    mail = (link("email_of_customer", 1, 1, 5), link("email_of_customer", 1, 2, 5))
    before, now = identities(*mail, login(1, 3), ahead=4), identities(*mail, login(1, 3), ahead=5)
    earlier = identities(login(1, 1), login(2, 2), ahead=4)
    did = pl.LazyFrame({"customer_key": [1001, 1003], "orders": [2, 1]})
    assert sorted(as_people_before(did, before=before, now=now).collect().rows()) == [(1001, 2), (1003, 1)]
    assert sorted(as_people_before(did, before=earlier, now=now).collect().rows()) == [(1001, 2), (1002, 2), (1003, 1)]


WORDS = st.lists(
    st.tuples(
        st.sampled_from(CONSENTED_PURPOSES),
        st.booleans(),
        st.integers(0, 9),
        st.sampled_from([(1, None), (2, None), (None, 1)]),
    ),
    max_size=12,
)


def spoken(drawn: list[tuple]) -> list[dict]:
    return [word(purpose, granted, ahead, customer=c, visitor=v) for purpose, granted, ahead, (c, v) in drawn]


@given(WORDS, WORDS, st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_neither_order_nor_later_words_change_the_verdict_of_a_day(words, later, order):
    after = [(purpose, granted, ahead + 10, who) for purpose, granted, ahead, who in later]
    known = said(*spoken(words), links=(login(1, 1),), ahead=9)
    mixed = order.sample(words + after, len(words + after))
    assert said(*spoken(mixed), links=(login(1, 1),), ahead=9) == known


@given(WORDS, st.sampled_from(CONSENTED_PURPOSES))
@settings(max_examples=20)
def test_after_a_withdrawal_the_person_is_seen_by_no_asset_of_that_purpose(words, purpose):
    every = [*spoken(words), word(purpose, False, 20, customer=1)]
    for ahead, silence in ((20, True), (20, False), (99, True)):
        sees = view(purpose, *every, links=(login(1, 1),), ahead=ahead, **{purpose: silence})
        assert 1001 not in sees.people(ACTED).collect()["customer_key"]
        assert not {1001, 2001} & set(sees.actors(ACTED).collect()["actor_key"])
