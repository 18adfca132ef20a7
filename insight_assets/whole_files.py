"""Writing a small file whole: a reader, or a kill at any moment, finds the old text or the new, never a part.

Tables are the lake's business and models the model store's; this is for settings, pages and lists.
"""

import os
import secrets
from pathlib import Path

from insight_assets.disk_room import telling_of_full_disk


def write_whole(path: Path, text: str) -> None:
    """Replace a file's text in one step, making its folder on first use.

    Args:
        path: the file.
        text: its new content, written as UTF-8.

    Raises:
        DiskFull: if there is no room for it; the old text stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with telling_of_full_disk(f"{path}"):
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
