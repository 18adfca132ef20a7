import base64

import altair as alt
import polars as pl
import pytest

from insight_assets import charts
from insight_assets.charts import PictureTooLargeError, chart_markdown


def line_chart() -> alt.Chart:
    frame = pl.DataFrame({"epoch": [0, 1, 2], "loss": [0.7, 0.6, 0.55]})
    return alt.Chart(frame).mark_line().encode(x="epoch:Q", y="loss:Q")


def test_a_chart_becomes_an_inline_png():
    markdown = chart_markdown(line_chart())
    prefix = "![chart](data:image/png;base64,"
    assert markdown.startswith(prefix)
    assert base64.b64decode(markdown[len(prefix) : -1]).startswith(b"\x89PNG")


def test_a_picture_too_large_for_the_event_log_is_refused(monkeypatch):
    monkeypatch.setattr(charts, "MAX_PICTURE_BYTES", 500)
    with pytest.raises(PictureTooLargeError, match="at most 500"):
        chart_markdown(line_chart())


def test_a_small_chart_takes_little_room():
    assert len(chart_markdown(line_chart())) < 20_000
