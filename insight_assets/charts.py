"""Turns charts into pictures that an asset can show in its metadata.

What to draw belongs to the module that knows the numbers; here is only how a drawing becomes a
small inline PNG.
"""

import base64
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

MAX_PICTURE_BYTES = 60_000
"""Metadata lives in the event log, so pictures must stay small."""


class PictureTooLargeError(ValueError):
    """A rendered chart exceeds what may be stored in the event log."""


def chart_markdown(chart: "alt.TopLevelMixin") -> str:
    """Render a chart to a PNG and return it as a markdown image with a data URI.

    Rendering needs no browser and no network (vl-convert).

    Args:
        chart: An Altair chart with aggregated data; never one row per customer.

    Returns:
        Markdown of one inline image.

    Raises:
        PictureTooLargeError: If the data URI exceeds `MAX_PICTURE_BYTES`.
    """
    import vl_convert

    picture = _repacked(vl_convert.vegalite_to_png(chart.to_dict()))
    markdown = f"![chart](data:image/png;base64,{base64.b64encode(picture).decode('ascii')})"
    if len(markdown) > MAX_PICTURE_BYTES:
        raise PictureTooLargeError(
            f"the picture takes {len(markdown):,} bytes, at most {MAX_PICTURE_BYTES:,} are allowed; "
            "draw fewer points or a smaller chart"
        )
    return markdown


def _repacked(picture: bytes) -> bytes:
    """The same PNG, its pixels deflated at the highest level.

    vl-convert packs for speed: a line chart of 348 x 227 pixels shrinks from 33 kB to 5 kB.
    """
    signature, position = picture[:8], 8
    before, pixels, after = b"", b"", b""
    while position < len(picture):
        (length,) = struct.unpack(">I", picture[position : position + 4])
        end = position + length + 12
        if picture[position + 4 : position + 8] == b"IDAT":
            pixels += picture[position + 8 : end - 4]
        elif pixels:
            after += picture[position:end]
        else:
            before += picture[position:end]
        position = end
    body = b"IDAT" + zlib.compress(zlib.decompress(pixels), level=9)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return signature + before + chunk + after
