"""Encodings that a contract leaves open: found, or refused, and never read with loss."""

from dataclasses import replace

import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.encodings import guess_encoding
from insight_assets.ingestion.readers import Delivery, FileRefused, read_rows
from insight_assets_tests.deliveries import UCI_HEADER, lines, uci_row

UCI = source_contracts()["uci_online_retail"]
WORDS = {
    "gb18030": (
        "龙井茶", "青花瓷茶杯（四只装）", "普洱茶饼", "手工竹篮", "丝绸围巾", "羽绒服，保暖", "电饭煲",
        "蓝牙耳机", "儿童书包", "厨房刀具",
        "不锈钢保温杯", "纯棉床单四件套", "洗衣液", "收到货很满意，谢谢", "运动鞋", "智能手表",
    ),
    "latin-1": ("Crème brûlée", "Thé à la menthe", "Pâté de forêt", "Gâteau fondant", "Élégante écharpe"),
    "cp1251": ("чай зелёный", "кружка большая", "шарф", "бесплатная доставка", "спасибо за покупку", "набор ложек"),
}


def text_of(words: tuple[str, ...], rows: int = 60) -> str:
    time = "2025-01-01 10:00:00"
    return lines(UCI_HEADER, *(uci_row(str(n), time, Description=words[n % len(words)]) for n in range(rows)))


def products(data: bytes, encoding: str = "auto") -> list[str]:
    return read_rows(Delivery("f.csv", "0" * 32, data), replace(UCI, encoding=encoding))["product"].to_list()


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", "gb18030"), ("utf-8-sig", "gb18030"), ("utf-16", "gb18030"), ("utf-16-le", "gb18030"),
        ("utf-16-be", "latin-1"), ("gb18030", "gb18030"), ("gbk", "gb18030"), ("latin-1", "latin-1"),
        ("cp1252", "latin-1"), ("cp1251", "cp1251"),
    ],
)  # fmt: skip
def test_an_undeclared_encoding_is_found(encoding, words):
    expected = [WORDS[words][n % len(WORDS[words])] for n in range(60)]
    assert products(text_of(WORDS[words]).encode(encoding)) == expected


@pytest.mark.parametrize("data", [bytes(range(256)) * 40, "杯子".encode("gbk") * 2, b"caf\xe9 " * 2])
def test_what_several_encodings_explain_is_not_guessed(data):
    assert guess_encoding(data) is None


def test_a_file_that_nobody_can_read_is_refused_with_advice():
    with pytest.raises(FileRefused, match="set the encoding in the contract of uci_online_retail") as caught:
        products(text_of(("caf\xe9",), 3).encode("latin-1"))
    assert caught.value.rule == "encoding"


def test_a_declared_encoding_is_never_second_guessed():
    data = text_of(WORDS["gb18030"]).encode("gb18030")
    with pytest.raises(FileRefused, match="not utf-8"):
        products(data, "utf-8")
    assert products(data, "latin-1")[0] == "龙井茶".encode("gb18030").decode("latin-1")


def test_single_broken_lines_of_utf_8_stay_single_broken_lines():
    good = text_of(WORDS["gb18030"]).encode()
    bad = uci_row("99", "2025-01-01 10:00:00", Description="羽绒服").encode("gb18030") + b"\n"
    rows = read_rows(Delivery("f.csv", "0" * 32, good + bad), UCI)
    assert rows["broken"].is_not_null().sum() == 1
    assert rows["product"].head(60).to_list() == products(good)
