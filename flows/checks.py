"""What `check` looks at: both ends, and what this connection remembers of them. It changes nothing anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tasks.connector import ConnectorError, Finding
from tasks.fingerprints import recognise
from tasks.run import Run


def check_connection(run: Run) -> list[dict[str, Any]]:
    """Findings of all ends: {"where", "level", "sentence"}. A stop of one end does not hide the other."""
    found = []
    for name, shop in run.shops.items():
        found += _look(f"shop {name}", shop.check, partial(_recognised, run, name))
    found += _look("ESP", run.esp.check)
    return found


def _look(where: str, *looks: Callable[[], list[Finding]]) -> list[dict[str, Any]]:
    """Look at one end until something stops the looking."""
    findings: list[Finding] = []
    try:
        for look in looks:
            findings += look()
    except ConnectorError as error:
        findings.append(Finding("error", str(error)))
    return [{"where": where, "level": finding.level, "sentence": finding.sentence} for finding in findings]


def _recognised(run: Run, name: str) -> list[Finding]:
    recognise(run, name, remembers=False)
    return [Finding("ok", "It is the shop that this connection knows, or the first that it sees.")]
