"""Archives of related files, as a shop's export delivers them."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path


def packed(files: Mapping[str, bytes | str]) -> bytes:
    """Give the bytes of a zip archive with those files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in files.items():
            writer.writestr(name, content)
    return archive.getvalue()


def olist_files(real_data: Path) -> dict[str, bytes]:
    """Read the files of Olist's development sample, as published: some packed, some plain."""
    folder = real_data / "olist_samples"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.csv*"))}
