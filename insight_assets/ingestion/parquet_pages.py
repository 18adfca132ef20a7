"""What a Parquet file unpacks to, told by its footer and the headers of its pages before any page is unpacked.

A footer may say anything: a hundred million rows fit into a few kilobytes, and its sizes may be wrong. A decoder makes
room for what the header of each page says, so those are what is added up. Headers are written in the compact protocol
of Apache Thrift (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); which field is
which follows https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
_TAIL = 8
# A footer of two thousand columns and a hundred groups of rows has about twenty million bytes.
_LARGEST_FOOTER = 1 << 25
_DEEPEST = 32
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = frozenset({4, 5, 6})
_LONG_LIST = 15
# The highest bit of a byte says that another follows.
_LAST_BYTE = 0x80
_BITS = 63


class NotParquet(ValueError):
    """The bytes are not what a Parquet file says of itself."""


@dataclass(frozen=True)
class Unpacked:
    """What a file unpacks to.

    Attributes:
        rows: rows, as footer and groups of rows agree.
        columns: columns at the leaves; of nested ones each counts.
        cells: values in all pages; of lists each item counts.
        bytes: bytes of all pages when decompressed.
    """

    rows: int
    columns: int
    cells: int
    bytes: int


def measure_pages(data: bytes) -> Unpacked:
    """Add up what the pages of a file unpack to.

    Args:
        data: the bytes of a file.

    Raises:
        NotParquet: if footer and pages cannot be read or contradict each other.
    """
    try:
        return _measure(data)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, NotParquet):
            raise
        message = f"its headers cannot be read ({type(error).__name__})"
        raise NotParquet(message) from None


def _measure(data: bytes) -> Unpacked:
    size = int.from_bytes(data[-_TAIL:-4], "little")
    start = len(data) - _TAIL - size
    if data[:4] != _MAGIC or data[-4:] != _MAGIC or start < len(_MAGIC) or size > _LARGEST_FOOTER:
        message = "it has no footer"
        raise NotParquet(message)
    footer = _Reader(data, start).structure()
    groups = footer.get(4, [])
    rows = sum(group[3] for group in groups)
    if rows != footer[3] or any(group[3] < 0 for group in groups):
        message = "its footer and its groups of rows disagree on the number of rows"
        raise NotParquet(message)
    leaves = sum(not element.get(5) for element in footer[2][1:])
    cells = unpacked = packed = 0
    for group in groups:
        for column in group[1]:
            for header, length in _pages(data, column[3], start):
                packed += length
                if packed > start:
                    message = "its pages overlap"
                    raise NotParquet(message)
                told = header.get(5) or header.get(8) or {}
                cells += told.get(1, 0)
                unpacked += header[2]
    return Unpacked(rows, leaves, cells, unpacked)


def _pages(data: bytes, column: dict[int, Any], end_of_data: int) -> Iterator[tuple[dict[int, Any], int]]:
    """Give the headers of a column's pages with their lengths, from its dictionary or first data page on."""
    left = column[5]
    if not left:
        return
    place = min(offset for offset in (column[9], column.get(11)) if offset)
    if place < len(_MAGIC):
        message = "a page lies outside the file"
        raise NotParquet(message)
    while left > 0:
        reader = _Reader(data, place)
        header = reader.structure()
        values = (header.get(5) or header.get(8) or {}).get(1, 0)
        begin, place = place, reader.place + header[3]
        if min(header[2], header[3], values) < 0 or place > end_of_data:
            message = "a page is larger than the file"
            raise NotParquet(message)
        yield header, place - begin
        left -= values
    if left < 0:
        message = "its footer and its pages disagree on the number of values"
        raise NotParquet(message)


class _Reader:
    """Reads Thrift's compact protocol: structures become dictionaries from field number to value."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self.place = place

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < _LAST_BYTE:
                return value
            shift += 7
            if shift > _BITS:
                message = "a number has too many bits"
                raise NotParquet(message)

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def structure(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 0x0F
            fields[number] = kind == _TRUE if kind in {_TRUE, _FALSE} else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            message = "its headers are nested too deeply"
            raise NotParquet(message)
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.structure(depth + 1)
        if kind in {_LIST, _SET}:
            return self._list(depth)
        if kind in {_TRUE, _FALSE, _BYTE}:
            return self._byte()
        if kind in {_BINARY, _DOUBLE}:
            size = self._varint() if kind == _BINARY else 8
            self.place += size
            return self._data[self.place - size : self.place]
        message = f"its headers hold a value of kind {kind}"
        raise NotParquet(message)

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 < _LONG_LIST else self._varint()
        if size > len(self._data):
            message = "a list is longer than the file"
            raise NotParquet(message)
        return [self._value(head & 0x0F, depth + 1) for _ in range(size)]
