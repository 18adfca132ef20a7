"""What is made with a key."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.validation.key_ring import KEY_BYTES
from insight_assets.validation.pseudonyms import (
    CUSTOMER,
    IDENTITY,
    VISITOR,
    hide_identity,
    pseudonymiser,
    replace_identifiers,
)

KEY = bytes(range(KEY_BYTES))
PSEUDONYM = pseudonymiser(KEY)


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
