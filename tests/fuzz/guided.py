"""One target under atheris, which watches the branches that an input takes: started by `guided.sh` only.

Arguments: the target, then those of libFuzzer, the first folder of which is the corpus that grows.
"""

import sys

import atheris

with atheris.instrument_imports(include=["appliance"]):
    from tests.fuzz import engine, targets

    target = targets.load(sys.argv.pop(1))


def one(data: bytes) -> None:
    """Whatever a target raises is what the fuzzer stops at."""
    target.run(data)


atheris.Setup([*sys.argv, f"-max_len={engine.INPUT_BYTES_MAX}", "-timeout=60", "-rss_limit_mb=2048"], one)
atheris.Fuzz()
