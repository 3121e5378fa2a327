"""How many small mistakes in the rules the tests find: `make mutants`, or only some of them:

    make mutants ARGS=tables               # each word of each line of data/rules, in turn another one: minutes
    make mutants ARGS="models answers"     # each operator and word of one SQL model, or of all: 4 s each, of 1600

A mistake in a table is judged as `test_policy` and `test_sms` do: refused when the table is loaded, or some case ends otherwise
than the page says. A mistake in a model is found when a test of the rules fails; each is tried in a fork of this process, the
tests that name the model first. What survives is printed: a test is missing, or it makes no difference.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import rules

say = functools.partial(print, flush=True)
TESTS = Path(__file__).parent / "tasks" / "rules"
SKIPPED = "not random_days and not slip and not case_ends and not every_case"
"""The days take too long, and what judges the tables says nothing of the models."""

SWAPS = (
    (r"\band\b", "or"),
    (r"\bor\b", "and"),
    (r"(?<![<>!=])<(?![=>])", "<="),
    (r"<=", "<"),
    (r"(?<![<=])>(?!=)", ">="),
    (r">=", ">"),
    (r"<>", "="),
    (r"(?<![<>!=:])=(?!=)", "<>"),
    (r"\bis not null\b", "is null"),
    (r"\bis null\b", "is not null"),
    (r"\bis not distinct from\b", "is distinct from"),
    (r"\bis distinct from\b", "is not distinct from"),
    (r"\bnot exists\b", "exists"),
    (r"\bnot (?=\w+\.?\w*\b(?! exists))(?!exists|in\b|null|distinct|materialized)", ""),
    (r"\bnot in\b", "in"),
    (r"\banti join\b", "semi join"),
    (r"\bsemi join\b", "anti join"),
    (r"\bleft join\b", "inner join"),
    (r"\bgreatest\(", "least("),
    (r"\bleast\(", "greatest("),
    (r" desc\b", ""),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    *(
        pair
        for one, other in (
            ("subscribed", "unsubscribed"),
            ("opted_in", "opted_out"),
            ("bounced", "complained"),
            ("shop", "esp"),
            ("email", "sms"),
            ("in", "out"),
            ("self", "merchant"),
            ("pending", "subscribed"),
            ("deleted", "absent"),
            ("create", "status"),
        )
        for pair in ((f"'{one}'", f"'{other}'"), (f"'{other}'", f"'{one}'"))
    ),
)


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Each text that differs in one place, outside of comments and table names, with what was done where."""
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        code = line.partition("--")[0]
        for pattern, other in SWAPS:
            for found in re.finditer(pattern, code):
                changed = code[: found.start()] + other + code[found.end() :] + line[len(code) :]
                lines = text.splitlines(keepends=True)
                lines[number - 1] = changed
                yield f"{number}: {found[0].strip()} -> {other or 'nothing'}: {line.strip()}", "".join(lines)


def tests_of(model: str) -> list[list[str]]:
    """The test files that name the model, the one that bears its name first; then all others."""
    files = sorted(TESTS.glob("test_*.py"), key=lambda file: (file.stem != f"test_{model}", file.stem))
    naming = [str(file) for file in files if model in file.read_text(encoding="utf-8")]
    return [naming, [str(file) for file in files if str(file) not in naming]]


def is_found(model: str, text: str) -> bool:
    """Whether a test fails with this text in the model's place. Done in a fork, which forgets everything."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        rightly = rules.model
        rules.model = lambda name: text if name == model else rightly(name)  # type: ignore[assignment]
        statuses = [1]
        with contextlib.suppress(BaseException):
            options = ["-x", "-q", "-p", "no:cacheprovider", "-k", SKIPPED]
            naming, others = tests_of(model)
            statuses = [int(pytest.main([*options, *naming]))] if naming else []
            if others and not any(statuses):
                statuses.append(int(pytest.main([*options, *others])))
    os._exit(int(any(status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} for status in statuses)))


def models(names: list[str]) -> None:
    every = sorted(names or [path.stem for path in rules.FOLDER.glob("*.sql")])
    killed = total = 0
    for name in every:
        began, survivors, tried = time.monotonic(), [], 0
        for what, text in mutants(rules.model(name)):
            tried += 1
            if not is_found(name, text):
                survivors.append(what)
                say(f"    {name}.sql:{what}")
        killed, total = killed + tried - len(survivors), total + tried
        say(f"{name}: {tried - len(survivors)} of {tried} found in {time.monotonic() - began:.0f} s")
    say(f"models: {killed} of {total} found")


def tables() -> None:
    sys.path.insert(0, str(TESTS))
    import test_policy  # noqa: PLC0415  # a fork must not have touched a frame, and these do
    import test_sms  # noqa: PLC0415

    score = Counter[str]()
    for name, verdicts in [*((name, test_policy.judged(name)) for name in rules.policies()), ("sms", test_sms.judged())]:
        for slip, verdict in verdicts:
            score[verdict] += 1
            if verdict == "survived":
                say(f"    {name}: {slip}")
    found = score["refused"] + score["other than the page"]
    say(f"tables: {found} of {sum(score.values())} found, {score['the same']} of the others come to the same table")


if __name__ == "__main__":
    what, *which = sys.argv[1:] or [""]
    if what in {"", "models"}:
        models(which)
    if what in {"", "tables"}:
        tables()
