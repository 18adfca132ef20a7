"""What killed writers leave behind, in the landing folder and in the lake.

Only files that nothing refers to any more are removed: temporary names in landing, and in a table's folder what no
version of it ever held. What a table held once stays until somebody decides about its history.
"""

from pathlib import Path

from deltalake import DeltaTable

DAY_SECONDS = 24 * 3600
_ENDINGS = (".tmp", ".part", ".partial", ".crdownload")


def sweep_landing(folder: Path, *, now: float) -> int:
    """Remove temporary files of a source's landing folder that nobody has touched for a day.

    Args:
        folder: the landing folder of one source.
        now: Unix time.

    Returns:
        Files removed.
    """
    if not folder.is_dir() or folder.is_symlink():
        return 0
    return sum(_remove_old(path, now) for path in folder.iterdir() if path.name.endswith(_ENDINGS))


def sweep_table(folder: Path, *, now: float) -> int:
    """Remove data files that no version of a table holds: a writer was killed between writing and committing them.

    Args:
        folder: folder of a table.
        now: Unix time.

    Returns:
        Files removed.
    """
    if not DeltaTable.is_deltatable(str(folder)):
        return 0
    log = folder / "_delta_log"
    told = "".join(path.read_text(encoding="utf-8") for path in sorted(log.glob("*.json")))
    if not (log / f"{0:020}.json").exists():
        # Part of the history is summed up in checkpoints, so what it held cannot be told from this.
        return 0
    data = (path for path in folder.rglob("*.parquet") if path.parent != log)
    return sum(_remove_old(path, now) for path in data if path.name not in told)


def _remove_old(path: Path, now: float) -> int:
    try:
        if path.is_symlink() or not path.is_file() or now - path.stat().st_mtime < DAY_SECONDS:
            return 0
        path.unlink()
    except FileNotFoundError:
        return 0
    return 1
