"""Masks what identifies a person in text that people wrote: each find is replaced by a typed mark such as `[email]`.

By rules only, those of `personal_patterns.py`. Most text holds nothing of the kind, so a first look by one pattern
decides which rows the others are tried on, and what needs arithmetic is computed only for rows that hold a candidate.
What is a price, a date, an article or version number must stay, since the words of a review are worth more to the shop
than one more mask.
"""

import re

import polars as pl

from insight_assets.validation.personal_patterns import CHECKS, EMAIL, FIRST_LOOK, HOLDS, PATTERNS, URL, Check

# Written out in full width, digits and @ mean the same; a row is brought to ASCII only if something in it is masked.
_WIDE = "０１２３４５６７８９＠．－＋＃"
_NARROW = "0123456789@.-+#"


def mask_text(text: pl.Expr) -> pl.Expr:
    """Mask what identifies a person in text.

    Args:
        text: text as people wrote it, in any language.

    Returns:
        The text with each e-mail, address on the web, telephone, identity card, bank card, account number, order
        number, postal address, network address and name of a person who introduces themselves replaced by its mark in
        square brackets. Null stays null, and text without a find stays as it was, sign by sign.
    """
    return text.map_batches(mask_series, return_dtype=pl.String, is_elementwise=True)


def mask_series(text: pl.Series) -> pl.Series:
    """Mask the texts of a column; see `mask_text`."""
    suspects = text.str.contains(FIRST_LOOK).fill_null(value=False).arg_true()
    if suspects.is_empty():
        return text
    looked_at = text.gather(suspects)
    narrow = looked_at
    if looked_at.str.contains(f"[{_WIDE}]").any():
        narrow = looked_at.str.replace_many(list(_WIDE), list(_NARROW))
    frame = pl.DataFrame({"before": looked_at, "narrow": narrow, "masked": _mask_suspects(narrow)})
    kept = frame.select(pl.when(pl.col("masked") == pl.col("narrow")).then("before").otherwise("masked"))
    return _put(text, suspects, kept.to_series())


def _mask_suspects(text: pl.Series) -> pl.Series:
    # What holds other finds goes first: an address on the web may hold an e-mail, a card a telephone.
    text = text.str.replace_all(URL, "[url]").str.replace_all(EMAIL, "[email]")
    for check in CHECKS:
        text = _mask_checked(text, check)
    for mark, rules in PATTERNS.items():
        rows = text.str.contains(HOLDS[mark]).arg_true()
        # A pattern costs a millisecond to compile, also for no rows; a day of a small shop has few.
        if rows.is_empty():
            continue
        masked = text.gather(rows)
        for rule in rules:
            masked = masked.str.replace_all(rule.pattern, rule.replacement)
        text = _put(text, rows, masked)
    return text


def _mask_checked(text: pl.Series, check: Check) -> pl.Series:
    rows = text.str.contains(check.candidate).arg_true()
    if rows.is_empty():
        return text

    def replaced(match: re.Match[str]) -> str:
        if not check.holds(match):
            return match[0]
        first, last = (place - match.start() for place in match.span("found"))
        return f"{match[0][:first]}[{check.mark}]{match[0][last:]}"

    masked = [check.pattern.sub(replaced, each) for each in text.gather(rows)]
    return _put(text, rows, pl.Series(masked, dtype=pl.String))


def _put(text: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    # Without the copy `scatter` would change the column that was given.
    return text.clone().scatter(rows, values)
