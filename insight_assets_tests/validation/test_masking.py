"""Masking: what must go is gone, what must stay stays, in texts of three languages and in real ones."""

import json
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.masking import mask_series, mask_text
from insight_assets.validation.personal_patterns import MARKS, has_luhn_digit, is_iban, is_id_card
from insight_assets_tests.deliveries import call, lines
from insight_assets_tests.validation.judging import validate
from insight_assets_tests.validation.personal_texts import LANGUAGES, write_texts

MARK = re.compile(rf"\[({'|'.join(MARKS)})\]")
CASES = 1_500


def masked(text: str) -> str:
    return mask_series(pl.Series([text]))[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_recall_and_precision_on_generated_texts(language):
    texts = write_texts(language, CASES)
    found = mask_series(pl.Series([each.text for each in texts]))
    planted = gone = marks = right = 0
    for each, text in zip(texts, found, strict=True):
        hidden = sum(value not in text for _, value in each.planted)
        shown = len(MARK.findall(text))
        planted, gone, marks, right = (
            planted + len(each.planted),
            gone + hidden,
            marks + shown,
            right + min(shown, hidden),
        )
    recall, precision = gone / planted, right / marks
    print(f"{language}: recall {recall:.4f} of {planted}, precision {precision:.4f} of {marks}")
    assert planted >= 1_000
    assert recall >= 0.98
    assert precision >= 0.95
    kept = [value in text for each, text in zip(texts, found, strict=True) for value in each.harmless]
    assert sum(kept) / len(kept) >= 0.99


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_is_masked_as_what_it_is(language):
    texts = [each for each in write_texts(language, CASES, seed=11) if len(each.planted) == 1]
    found = mask_series(pl.Series([each.text for each in texts]))
    right: dict[str, list[bool]] = {}
    for each, text in zip(texts, found, strict=True):
        kind = each.planted[0][0]
        right.setdefault(kind, []).append(MARK.findall(text) == [kind])
    assert {kind for kind, verdicts in right.items() if sum(verdicts) / len(verdicts) < 0.95} == set()
    assert len(right) == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail a.b@x.com or see http://foo.bar/a?b=c.", "mail [email] or see [url]."),
        ("https://x.com/?u=a@b.com", "[url]"),
        ("write to anna (at) home", "write to anna (at) home"),
        ("anna(at)web(dot)de", "[email]"),
        ("电话１３８１２３４５６７８谢谢，５０元", "电话[phone]谢谢，50元"),
        ("13812345678,13912345678", "[phone],[phone]"),
        ("4111 1111 1111 1111", "[bank_card]"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("11010519491231002X", "[id_card]"),
        ("110105194912310021", "110105194912310021"),
        ("bitte auf DE89 3704 0044 0532 0130 00 erstatten", "bitte auf [iban] erstatten"),
        ("DE88 3704 1144 0532 0130 00", "DE88 3704 1144 0532 0130 00"),
        ("from 192.168.1.10 with firmware 10.2.3.4", "from [ip] with firmware 10.2.3.4"),
        ("aa:bb:cc:dd:ee:01 at 12:30:45", "[mac] at 12:30:45"),
        ("QQ：710959285, wechat: li_wei88", "QQ：[account], wechat: [account]"),
        ("我住在北京市朝阳区建国路88号3号楼201室，方便", "我住在[address]，方便"),
        (
            "Order 12345-67 came, order 2 for 1, order of 2024-05-06",
            "Order [order] came, order 2 for 1, order of 2024-05-06",
        ),
        ("我的order 12345-67，谢谢", "我的order [order]，谢谢"),
        ("call 5999 or 1299.00", "call 5999 or 1299.00"),
        (
            "SM-G9910, iPhone 15 128 256, 4006381333931, 978-3-16-148410-0",
            "SM-G9910, iPhone 15 128 256, 4006381333931, 978-3-16-148410-0",
        ),
        ("０.５升 ２０２４年", "０.５升 ２０２４年"),
    ],
)
def test_single_texts(text, expected):
    assert masked(text) == expected


@settings(max_examples=30)
@given(
    words=st.lists(
        st.sampled_from(["good", "很好", "ｇｏｏｄ，", "5", "３", "🙂", "1.5", "é", "\x00", "\n"]), max_size=12
    )
)
def test_text_without_a_find_stays_sign_by_sign(words):
    text = " ".join(words)
    assert masked(text) == text


@settings(max_examples=30)
@given(
    texts=st.lists(
        st.none() | st.text(st.characters(codec="utf-8")) | st.sampled_from(["a@b.com", "13812345678"]), max_size=8
    )
)
def test_columns_are_masked_row_by_row_and_are_not_changed_in_place(texts):
    column = pl.Series("said", texts, dtype=pl.String)
    before = column.to_list()
    found = mask_series(column)
    assert column.to_list() == before
    assert (found.name, found.len()) == ("said", len(texts))
    assert found.to_list() == [None if each is None else masked(each) for each in texts]
    assert (
        pl.DataFrame([column]).lazy().select(mask_text(pl.col("said"))).collect()["said"].to_list() == found.to_list()
    )


@settings(max_examples=20)
@given(
    texts=st.lists(
        st.sampled_from([each.text for language in LANGUAGES for each in write_texts(language, 60)]),
        min_size=1,
        max_size=5,
    )
)
def test_masking_twice_changes_nothing_more(texts):
    once = mask_series(pl.Series(texts))
    assert mask_series(once).to_list() == once.to_list()


def test_check_digits():
    assert has_luhn_digit("79927398713")
    assert not has_luhn_digit("79927398710")
    assert is_id_card("11010519491231002X")
    assert not is_id_card("110105194912310020")
    assert is_iban("GB82WEST12345698765432")
    assert not is_iban("GB82WEST12345698765433")


def test_free_text_is_masked_before_it_leaves_raw():
    said = {
        "query": "tea for li.wei@qq.com",
        "review_body": "call 13812345678",
        "text": "my name is Anna Bell",
        "coupon": "a@b.com",
    }
    days = validate(
        source_contracts()["segment"], lines(json.dumps(call("m", "2025-01-01T10:00:00Z", properties=said)))
    )
    row = next(iter(days.values())).tables["events"].row(0, named=True)
    assert (row["query"], row["review_text"], row["ticket_text"]) == (
        "tea for [email]",
        "call [phone]",
        "my name is [name]",
    )
    # A code is no text that people write, and is left as it is.
    assert row["coupon"] == "a@b.com"


@pytest.mark.real
def test_hardly_any_real_review_is_touched_and_telephones_are_found(real_data):
    reviews = pl.read_csv(real_data / "zh_online_shopping_10_cats" / "online_shopping_10_cats.csv.gz")[
        "review"
    ].drop_nulls()
    found = mask_series(reviews)
    assert 0 < (found != reviews).mean() < 0.01
    mobiles = r"(?:^|[^0-9A-Za-z:：.\-])1[3-9][0-9]{9}(?:[^0-9A-Za-z]|$)"
    assert reviews.str.count_matches(mobiles).sum() >= 15
    assert found.str.count_matches(mobiles).sum() == 0
    clothes = pl.read_csv(real_data / "womens_clothing_reviews" / "Womens Clothing E-Commerce Reviews.csv.gz")[
        "Review Text"
    ].drop_nulls()
    # Sizes, heights and weights fill these reviews; none of them is personal in the sense of a mark.
    assert mask_series(clothes).to_list() == clothes.to_list()
