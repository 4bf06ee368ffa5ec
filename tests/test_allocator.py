"""Freed memory stays with the process: the blocks of large groups come back without a page fault for each page."""

import subprocess
import sys

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
for _ in range(5):
    group()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    group()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(what: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, what], check=True, capture_output=True).stdout)


def test_the_blocks_of_large_groups_come_back_without_page_faults() -> None:
    assert _faults("kept") < 500 < 5_000 < _faults("as it is")
