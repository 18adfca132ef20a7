"""The words of reviews, tickets and searches."""

import numpy as np
import pytest

from insight_assets.simulator.catalogue import CATEGORIES, build_catalogue
from insight_assets.simulator.phrases import (
    TOPICS,
    pack,
    phrase_book,
    queries,
    search,
    unpack,
    write_reviews,
    write_tickets,
)
from insight_assets.simulator.plan import SimulationPlan

CHINESE = range(0x4E00, 0xA000)


def read(packed):
    pool = phrase_book().pool
    slots = unpack(packed)
    return ["".join(pool[slot[row]] for slot in slots).strip() for row in range(len(packed))]


def is_chinese(text):
    return any(ord(letter) in CHINESE for letter in text)


def reviews(*, language, rating, quality, count=400, slow=False, sized=False):
    return read(
        write_reviews(
            language=np.full(count, language),
            rating=np.full(count, rating),
            quality=np.full(count, quality),
            sized=np.full(count, sized),
            slow=np.full(count, slow),
            random=np.random.default_rng(1),
        )
    )


def test_packing_gives_back_what_went_in():
    slots = [np.array([0, 5, 32_767]) for _ in range(4)]
    for packed, plain in zip(unpack(pack(*slots)), slots, strict=True):
        assert np.array_equal(packed, plain)


@pytest.mark.parametrize(("language", "chinese"), [(0, False), (1, True)])
def test_reviews_are_in_their_language(language, chinese):
    for rating in range(1, 6):
        texts = reviews(language=language, rating=rating, quality=0.0)
        assert all(is_chinese(text) is chinese for text in texts)


def test_words_agree_with_stars_and_quality():
    bad = " ".join(reviews(language=0, rating=1, quality=-1.5))
    good = " ".join(reviews(language=0, rating=5, quality=1.5))
    assert bad.count("The quality is poor.") > 20 * max(bad.count("The quality is excellent."), 1)
    assert good.count("The quality is excellent.") > 20 * max(good.count("The quality is poor."), 1)
    assert "Love it!" not in bad
    assert "Love it!" in good


def test_a_slow_parcel_is_mentioned():
    slow = " ".join(reviews(language=0, rating=3, quality=0.0, slow=True))
    usual = " ".join(reviews(language=0, rating=3, quality=0.0))
    assert slow.count("Delivery took far too long.") > 2 * usual.count(
        "Delivery took far too long."
    )


@pytest.mark.parametrize("topic", range(len(TOPICS)))
def test_tickets_speak_of_their_topic(topic):
    for language in (0, 1):
        texts = read(
            write_tickets(
                language=np.full(300, language),
                topic=np.full(300, topic),
                random=np.random.default_rng(2),
            )
        )
        assert all(is_chinese(text) is bool(language) for text in texts)
        bodies = phrase_book()
        first = bodies.firsts["ticket_body"][language, topic]
        own = [text.strip() for text in bodies.pool[first : first + 4]]
        assert all(any(body in text for body in own) for text in texts)


def test_some_tickets_hold_contact_data():
    texts = read(
        write_tickets(
            language=np.zeros(2_000, dtype=np.int64),
            topic=np.zeros(2_000, dtype=np.int64),
            random=np.random.default_rng(3),
        )
    )
    share = np.mean(["@" in text or "+86" in text for text in texts])
    assert 0.005 < share < 0.05


def test_searches_belong_to_the_product_and_misspelt_ones_find_nothing():
    catalogue = build_catalogue(SimulationPlan(customers=1, days=1, products=100))
    product = np.repeat(np.arange(100), 20)
    language = np.tile([0, 1], 1_000)
    query, results = search(
        language=language, product=product, catalogue=catalogue, random=np.random.default_rng(4)
    )
    texts = np.array(queries())[query]
    misspelt = np.array(
        ["x" in text and result == 0 for text, result in zip(texts, results, strict=True)]
    )
    assert np.array_equal(results == 0, misspelt)
    assert 0.01 < misspelt.mean() < 0.08
    nouns = [
        {noun[tongue].lower() for noun in CATEGORIES[category].nouns}
        for category, tongue in zip(catalogue.category[product], language, strict=True)
    ]
    plain = [text in options for text, options in zip(texts, nouns, strict=True)]
    assert np.mean(plain) > 0.5
