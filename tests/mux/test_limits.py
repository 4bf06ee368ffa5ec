"""The words under which refusals are counted."""

import re
from pathlib import Path

import appliance.mux
from appliance.mux.limits import REASONS, Limits


def test_every_reason_is_used_somewhere() -> None:
    folder = Path(appliance.mux.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "limits.py")
    assert [reason for reason in REASONS if f'"{reason}"' not in source] == []


def test_reasons_are_words_fit_for_a_metric_label() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason) and meaning for reason, meaning in REASONS.items())


def test_every_limit_is_positive() -> None:
    limits = Limits()
    assert all(getattr(limits, name) > 0 for name in limits.__slots__)
