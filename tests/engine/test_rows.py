"""Rows: the seal sees every flipped bit, and old rows are read by newer structs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.rows import (
    SEAL_BYTES,
    Body,
    DamagedRow,
    Idem,
    Mark,
    QueueRow,
    State,
    decode_body,
    decode_idem,
    decode_mark,
    decode_number,
    decode_queue,
    decode_state,
    encode_row,
    seal,
    unseal,
    unseal_all,
)
from appliance.engine.tables import TABLE_COUNT

tables = st.integers(0, TABLE_COUNT - 1)
keys = st.binary(min_size=1, max_size=40)
contents = st.binary(max_size=200)


@given(tables, keys, contents)
def test_a_sealed_row_opens_to_its_content(table: int, key: bytes, content: bytes) -> None:
    row = seal(table, key, content)
    assert len(row) == len(content) + SEAL_BYTES
    assert unseal(table, key, row) == content


@given(tables, keys, contents, st.data())
def test_a_flipped_bit_in_a_row_is_noticed(table: int, key: bytes, content: bytes, data: st.DataObject) -> None:
    row = bytearray(seal(table, key, content))
    bit = data.draw(st.integers(0, len(row) * 8 - 1))
    row[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedRow) as damage:
        unseal(table, key, bytes(row))
    assert (damage.value.table, damage.value.key) == (table, key)


@given(tables, keys, contents)
def test_a_row_under_another_key_or_in_another_table_is_damaged(table: int, key: bytes, content: bytes) -> None:
    row = seal(table, key, content)
    flipped = bytes([key[0] ^ 1]) + key[1:]
    for other_table, other_key in ((table, flipped), ((table + 1) % TABLE_COUNT, key)):
        with pytest.raises(DamagedRow):
            unseal(other_table, other_key, row)


@pytest.mark.parametrize("row", [b"", b"a", b"abc"])
def test_a_row_shorter_than_its_seal_is_damaged(row: bytes) -> None:
    with pytest.raises(DamagedRow):
        unseal(0, b"key", row)


@given(tables, st.dictionaries(keys, st.tuples(contents, st.one_of(st.none(), st.binary(max_size=5)))))
def test_many_rows_are_opened_as_each_by_itself(table: int, rows: dict[bytes, tuple[bytes, bytes | None]]) -> None:
    stored = [(key, seal(table, key, content) if other is None else other) for key, (content, other) in rows.items()]
    good, bad = {}, []
    for key, row in stored:
        try:
            good[key] = unseal(table, key, row)
        except DamagedRow as damage:
            bad.append(str(damage))
    damages: list[DamagedRow] = []
    assert list(unseal_all(table, stored, damages.append).items()) == list(good.items())
    assert [str(damage) for damage in damages] == bad


def test_every_struct_comes_back_as_it_was_written() -> None:
    body = Body("mail", b'{"a":1}', 17, "https://example.org", "key", "parent", "state")
    state = State(1, b"\0\0\0\1\0\0\0\2", 9, 5, 1234, run_at=2**63, keyed=True, result=b"{}", expires=99)
    assert decode_body(encode_row(body)) == body
    assert decode_state(encode_row(state)) == state
    assert decode_idem(encode_row(Idem(bytes(16), b"hash", True))) == Idem(bytes(16), b"hash", True)
    assert decode_idem(encode_row([bytes(16), b"hash"])) == Idem(bytes(16), b"hash", False)
    assert decode_queue(encode_row(QueueRow(1, 2, 3, 4, 5, 6, 28, 7))) == QueueRow(1, 2, 3, 4, 5, 6, 28, 7)
    assert decode_mark(encode_row(Mark(b"\1" * 16, 5, 3))) == Mark(b"\1" * 16, 5, 3)
    assert decode_number(encode_row(2**32 - 1)) == 2**32 - 1


def test_a_row_without_the_newest_fields_is_read_with_their_defaults() -> None:
    old = encode_row([0, b"\0\0\0\1\0\0\0\2", 3, 5, 1234])
    assert decode_state(old) == State(0, b"\0\0\0\1\0\0\0\2", 3, 5, 1234)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_decoded_or_refused_with_a_value_error(content: bytes) -> None:
    for decode in (decode_body, decode_state, decode_idem, decode_queue, decode_mark, decode_number):
        try:
            decode(content)
        except ValueError:
            continue
