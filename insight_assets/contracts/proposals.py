"""Proposals for a mended source contract, ready for a person to review.

Works on the text of the contract, so that everything else in it, comments included, stays as somebody wrote it. What
is new in the files is found in ingestion; a proposal never holds a delivered value.
"""

import re
from collections.abc import Mapping

from insight_assets.contracts.sources import SourceContract

_VERSION = re.compile(r"^version:\s*['\"]?(\d+)\.(\d+)\.(\d+)['\"]?", re.MULTILINE)
_DELIVERED = re.compile(r"^( *)- name: delivered\s*$", re.MULTILINE)
_ITEM = re.compile(r"^( *)- ", re.MULTILINE)


def propose_columns(source: SourceContract, columns: Mapping[str, str]) -> str:
    """Add delivered columns to the text of a contract, under the next minor version.

    Args:
        source: the contract.
        columns: name of each new column to what its values look like, e.g. "a number".

    Returns:
        The text of the proposed contract. Columns are marked personal until somebody has looked at them.
    """
    text = source.path.read_text(encoding="utf-8")
    text = _VERSION.sub(lambda found: f"version: {found[1]}.{int(found[2]) + 1}.0", text, count=1)
    head = _DELIVERED.search(text)
    if head is None:
        return text
    body = head.end() + 1
    following = re.compile(rf"^{head[1]}- ", re.MULTILINE).search(text, body)
    end = len(text) if following is None else following.start()
    item = _ITEM.search(text, body, end)
    indent = item[1] if item else head[1] + "    "
    taken = {column.name for column in source.delivered}
    lines = []
    for path, kind in sorted(columns.items()):
        name = _free_name(path, taken)
        taken.add(name)
        quoted = path.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(
            f'{indent}- {{name: {name}, physicalName: "{quoted}", logicalType: string, classification: personal, '
            f'description: "New, looks like {kind}: say what it means, and how personal it is"}}\n'
        )
    before = text[:end] if text[:end].endswith("\n") else text[:end] + "\n"
    return before + "".join(lines) + text[end:]


def _free_name(path: str, taken: set[str]) -> str:
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
    plain = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_") or "column"
    plain = plain if plain[0].isalpha() else f"column_{plain}"
    name, place = plain, 1
    while name in taken:
        place += 1
        name = f"{plain}_{place}"
    return name
