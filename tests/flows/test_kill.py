"""Killed anywhere, a sync is healed by running it again: nothing is lost, and nothing is sent twice.

The work is done by `cuts.py` in processes of its own, since it forks the platforms in the state of each morning.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

SHARDS = 2


@pytest.mark.timeout(7200 if os.environ.get("SHOPSYNC_EVERY_CUT") else 900)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_sync_that_is_killed_anywhere_is_healed_by_the_next_one(tmp_path: Path, shard: int) -> None:
    script = Path(__file__).with_name("cuts.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cuts"), str(shard), str(SHARDS)], capture_output=True, check=False
    )
    cases = [orjson.loads(line) for line in ended.stdout.splitlines()]
    problems = [f"{case['case']}: {problem}" for case in cases for problem in case["problems"]]
    assert problems == []
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    assert [case["case"] for case in cases if case["case"].endswith("uncut")] == [
        "first sync: uncut",
        "a day of changes: uncut",
        "the way back: uncut",
    ]
    cut = [case for case in cases if not case["case"].endswith("uncut")]
    assert sum(case["kills"] for case in cut) > 30
