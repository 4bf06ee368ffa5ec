"""Crash points: free when nothing is armed, and refused when they are named wrongly."""

import os
import signal
import subprocess
import sys

import pytest

from appliance.engine import crashpoints


def test_nothing_is_armed_without_the_variable() -> None:
    for name in crashpoints.NAMES:
        crashpoints.reach(name)


@pytest.mark.parametrize("setting", ["", "before-begin", "before-begin:0", "before-begin:x", "elsewhere:1", ":1"])
def test_a_wrong_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=crashpoints.VARIABLE):
        crashpoints.armed(setting)


def test_the_process_dies_at_the_given_arrival() -> None:
    program = (
        "from appliance.engine.crashpoints import reach\n"
        "for number in range(1, 4):\n"
        "    print(number, flush=True); reach('before-begin'); reach('before-commit')\n"
    )
    environment = {**os.environ, crashpoints.VARIABLE: "before-commit:2"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL
    assert run.stdout.split() == ["1", "2"]
