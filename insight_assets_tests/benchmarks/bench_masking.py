"""Masking free text in rows a second, beside the same rules run row by row with Python's `re`.

    python -m insight_assets_tests.benchmarks.bench_masking --rows 200000

The texts are those of the tests' generator, of which three in four hold something personal, and the same among plain
reviews, as a shop has them. Recall and precision are printed for each language. The rival has only the patterns of
e-mail, telephone and addresses on the web and no check digits: it does less and decides worse. Figures of one run are
to be compared with each other, not with those of another machine.
"""

import argparse
import re
import time
from collections.abc import Callable

import polars as pl

from insight_assets.validation.masking import mask_series
from insight_assets.validation.personal_patterns import MARKS
from insight_assets_tests.validation.personal_texts import LANGUAGES, write_texts

PLAIN = (
    "Absolutely wonderful, silky and comfortable; I usually wear a size 8 and this fits.",
    "质量很好，物流也快，下次还会再买。",
    "Sehr gut verarbeitet, kam pünktlich an und passt genau wie beschrieben.",
    "Bought 2 for 19.99 in 2024, would buy again.",
)
_RIVAL = tuple(
    re.compile(pattern)
    for pattern in (
        r"https?://\S+|www\.\S+",
        r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)+",
        r"(?<!\d)(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)",
        r"(?<!\d)\+\d{1,3}(?:[ .-]?\(?\d+\)?){2,6}",
        r"(?<!\d)\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}(?!\d)",
        r"(?<!\d)0\d{2,4}[ /-]\d{5,8}(?!\d)",
    )
)


def by_rows(texts: pl.Series) -> pl.Series:
    """Mask with the rival's patterns, one row at a time."""
    masked = []
    for text in texts:
        for pattern in _RIVAL:
            text = pattern.sub("[x]", text)
        masked.append(text)
    return pl.Series(masked)


def quality(language: str, count: int) -> tuple[float, float]:
    """Give recall and precision on generated texts."""
    mark = re.compile(rf"\[({'|'.join(MARKS)})\]")
    texts = write_texts(language, count, seed=23)
    planted = gone = marks = right = 0
    for each, text in zip(texts, mask_series(pl.Series([each.text for each in texts])), strict=True):
        hidden, shown = sum(value not in text for _, value in each.planted), len(mark.findall(text))
        planted, gone, marks, right = (
            planted + len(each.planted),
            gone + hidden,
            marks + shown,
            right + min(shown, hidden),
        )
    return gone / planted, right / marks


def rate(mask: Callable[[pl.Series], pl.Series], texts: pl.Series) -> float:
    """Give rows a second."""
    started = time.perf_counter()
    mask(texts)
    return len(texts) / (time.perf_counter() - started)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    for language in LANGUAGES:
        recall, precision = quality(language, 5_000)
        print(f"{language:10} recall {recall:.4f} precision {precision:.4f} of 5,000 texts")
    personal = [each.text for language in LANGUAGES for each in write_texts(language, 2_000)]
    dense = pl.Series((personal * (rows // len(personal) + 1))[:rows])
    sparse = pl.Series(
        [personal[place % len(personal)] if place % 20 == 0 else PLAIN[place % 4] for place in range(rows)]
    )
    for name, texts in (("generated texts only", dense), ("one in twenty generated", sparse)):
        print(f"{name:30} {rate(mask_series, texts):12,.0f} rows/s   row by row {rate(by_rows, texts):12,.0f} rows/s")


if __name__ == "__main__":
    main()
