"""Levels of log lines, in the forms that logs have."""

import pytest

from lang_jepa.data.text.levels import is_severe
from lang_jepa.data.text.masks import mask


@pytest.mark.parametrize(
    ("line", "severe"),
    [
        ("2024-01-01 10:00:00,123 ERROR [main] no such page", True),
        ("- 1117838570 2005.06.03 R02-M1-N0 RAS KERNEL FATAL data storage interrupt", True),
        ("[Sun Dec 04 04:47:44 2005] [error] mod_jk child in state 6", True),
        ("ts=1 level=fatal msg=x", True),
        ('{"level": "critical", "msg": "x"}', True),
        ("panic: runtime error: index out of range", True),
        ("E0102 10:00:00.000001 7 x.cc:9] bad", True),
        ("03-17 16:13:38.811  1702  2395 E Tag: bad", True),
        ("10:00:00 INFO tried again after ERROR 5", False),
        ("WARNING: error: none", False),
        ("03-17 16:13:38.811  1702  2395 D Tag: error: none", False),
        ("I0102 10:00:00.000001 7 x.cc:9] error: none", False),
        ("link errors remain current", False),
        ("mod_jk child workerEnv in error state 6", False),
        ("no-error: fine", False),
        (f"{'x' * 300} ERROR", False),
        ("open door", False),
    ],
)
def test_the_first_level_of_a_line_decides(line: str, severe: bool) -> None:
    assert is_severe(line) is severe
    assert is_severe(mask(line)) is severe
