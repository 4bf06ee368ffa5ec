"""What an error means, and the exit status that it gives a process."""

import errno
import os

import lmdb
import pytest

from appliance.engine.faults import (
    FULL_DISK_BYTES,
    DeadlineExceeded,
    DiskNotTrusted,
    NoSpace,
    StoreError,
    StoreLocked,
    StoreRefused,
    failure,
)
from tests.engine.committing import lmdb_error


def test_every_fault_has_its_exit_status() -> None:
    assert DiskNotTrusted.exit_status == 74
    assert {fault.exit_status for fault in (StoreLocked, NoSpace, DeadlineExceeded)} == {75}
    assert {fault.exit_status for fault in (StoreError, StoreRefused)} == {78}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_told_by_its_code(code: int) -> None:
    assert type(failure(OSError(code, os.strerror(code)), FULL_DISK_BYTES)) is NoSpace
    assert type(failure(lmdb_error(code), FULL_DISK_BYTES)) is NoSpace


def test_the_librarys_classes_for_no_space_are_known() -> None:
    assert type(failure(lmdb.MapFullError("mdb_put"), FULL_DISK_BYTES)) is NoSpace
    assert type(failure(lmdb.DiskError("mdb_txn_commit"), FULL_DISK_BYTES)) is NoSpace


@pytest.mark.parametrize(
    ("free_bytes", "expected"), [(0, NoSpace), (FULL_DISK_BYTES - 1, NoSpace), (FULL_DISK_BYTES, DiskNotTrusted)]
)
def test_a_write_that_was_cut_short_means_no_space_on_a_full_disk_only(
    free_bytes: int, expected: type[StoreError]
) -> None:
    assert type(failure(lmdb_error(errno.EIO), free_bytes)) is expected
    assert type(failure(lmdb_error(errno.EINVAL), free_bytes)) is DiskNotTrusted


def test_the_cause_stays_with_the_meaning() -> None:
    error = ValueError("a bug")
    meaning = failure(error, 0)
    assert meaning.__cause__ is error
    assert "ValueError: a bug" in str(meaning)
