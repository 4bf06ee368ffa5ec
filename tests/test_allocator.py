"""Freed memory stays with the process: the blocks of large groups and messages come back without a page fault for each
page."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from appliance.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = (ctypes.c_void_p,)
def group():
    blocks = [library.malloc(260 << 10) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 260 << 10)
    for block in blocks:
        library.free(block)
def message():
    parts = bytearray()
    for _ in range(64):
        parts += bytes(32 << 10)
    bytes(parts)
turn = group if sys.argv[2] == "group" else message
for _ in range(5):
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(memory: str, what: str) -> int:
    command = [sys.executable, "-c", PROGRAM, memory, what]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("what", ["group", "message"])
def test_the_blocks_of_large_groups_and_messages_come_back_without_page_faults(what: str) -> None:
    assert _faults("kept", what) < 500 < 5_000 < _faults("as it is", what)
