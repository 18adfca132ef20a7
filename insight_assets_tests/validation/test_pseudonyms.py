"""The key and what is made with it."""

import multiprocessing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.validation.pseudonyms import (
    CUSTOMER,
    IDENTITY,
    KEY_BYTES,
    VISITOR,
    hide_identity,
    pseudonymiser,
    read_key,
    replace_identifiers,
)

KEY = bytes(range(KEY_BYTES))
PSEUDONYM = pseudonymiser(KEY)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "secrets" / "pseudonym.key"
    key = read_key(path)
    assert len(key) == KEY_BYTES
    assert len(set(key)) > KEY_BYTES // 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_key(path) == key
    assert list(path.parent.iterdir()) == [path]
    assert read_key(tmp_path / "other" / "pseudonym.key") != key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    read_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(PermissionError, match="chmod 600"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_file_that_holds_no_key_is_refused(tmp_path, length):
    (tmp_path / "key").write_bytes(bytes(length))
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ValueError, match="restore it, or all pseudonyms change"):
        read_key(tmp_path / "key")


def _read_together(path: Path, start, found) -> None:
    start.wait()
    found.put(read_key(path))


def test_processes_that_start_together_share_one_key(tmp_path):
    context = multiprocessing.get_context("fork")
    start, found = context.Barrier(6), context.Queue()
    readers = [context.Process(target=_read_together, args=(tmp_path / "key", start, found)) for _ in range(6)]
    for reader in readers:
        reader.start()
    keys = {found.get(timeout=30) for _ in readers}
    for reader in readers:
        reader.join()
    assert keys == {(tmp_path / "key").read_bytes()}


@given(identifier=st.text(st.characters(codec="utf-8")))
def test_a_pseudonym_fits_a_column_and_depends_on_key_kind_and_identifier(identifier):
    found = PSEUDONYM(CUSTOMER, identifier)
    assert 0 <= found < 2**63
    assert found == pseudonymiser(KEY)(CUSTOMER, f" {identifier}\t")
    others = {
        PSEUDONYM(VISITOR, identifier),
        PSEUDONYM(IDENTITY, identifier),
        pseudonymiser(KEY[::-1])(CUSTOMER, identifier),
    }
    assert len(others | {found}) == 4
    assert PSEUDONYM(CUSTOMER, identifier + "x") != found


def test_the_pseudonym_of_an_identifier_never_changes():
    # Stored tables hold these numbers: a change of the formula would make strangers of all customers.
    assert PSEUDONYM(CUSTOMER, "17850") == 4328267952061326896


@given(ids=st.lists(st.none() | st.sampled_from(["", " ", "a", " a", "b ", "😀"]), max_size=12))
def test_columns_of_identifiers(ids):
    found = replace_identifiers(pl.Series(ids, dtype=pl.String), CUSTOMER, PSEUDONYM)
    assert found.dtype == pl.Int64
    assert found.to_list() == [PSEUDONYM(CUSTOMER, each) if each and each.strip() else None for each in ids]


def test_hidden_identities():
    found = hide_identity(pl.Series("event_id", ["a", None, "a", "b"]), PSEUDONYM)
    assert (found.name, found.dtype) == ("event_id", pl.String)
    assert found.to_list() == [f"{PSEUDONYM(IDENTITY, 'a'):016x}", None, found[0], f"{PSEUDONYM(IDENTITY, 'b'):016x}"]
    assert hide_identity(pl.Series("x", [], dtype=pl.String), PSEUDONYM).dtype == pl.String
