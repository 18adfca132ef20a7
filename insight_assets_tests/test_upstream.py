"""Traps of the libraries that the code steps around; when one of these fails, the step is no longer needed."""

import polars as pl


def test_polars_divides_by_a_number_differently_in_frames_of_one_row_and_more():
    quotients = [pl.DataFrame({"x": [255_007] * rows}).select(pl.col("x") / 10_000)["x"][0] for rows in (1, 2)]
    assert quotients[0] != quotients[1]


def test_polars_refuses_a_whole_column_of_json_for_one_bad_text():
    texts = pl.Series(['{"a": 1}', "{"])
    try:
        texts.str.json_decode(pl.Struct({"a": pl.Int64}))
    except pl.exceptions.ComputeError:
        return
    raise AssertionError
