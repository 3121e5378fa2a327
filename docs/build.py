"""Writes the pages that say what the code says: docs/snapshot.md, docs/rules.md, docs/platforms.md and the README's table of
platforms. Run: python docs/build.py

A test compares the pages with what this makes.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from flows.platforms import platforms  # noqa: E402
from schemas.state import TABLES  # noqa: E402
from tasks.snapshot import CONTACTS, RELATIONS  # noqa: E402

SNAPSHOT = """\
# The snapshot

After each run that changed something, shopsync publishes a read-only copy of a connection's state: one DuckDB file, in
`data_dir/CONNECTION/snapshots/`, with the link `data_dir/CONNECTION/snapshot.duckdb` to the newest. Relations and columns below
are a stable interface: they may grow, and what is there keeps its name and meaning.

Ask it from the command line, in DuckDB's SQL:

```console
shopsync sql demo "select esp_status, count(*) as people from contacts group by all order by people desc"
shopsync sql demo "select rule, sentence, count(*) as people from contacts group by all order by people desc"
shopsync sql demo "select earliest_at, side, kind, actor from consent_events where kind = 'opted_out' limit 10" --json
shopsync sql demo "select currency, sum(total - refunded_total) as revenue from orders where state = 'paid' group by all"
```

Without a query, `shopsync sql demo` lists the relations. From Python, open the file read-only:

```python
import duckdb

snapshot = duckdb.connect("data/demo/state/demo/snapshot.duckdb", read_only=True)
print(snapshot.sql("select shop_status, esp_status, count(*) as people from contacts group by all"))
```

The file holds addresses and orders: treat it as personal data. The last two snapshots stay, so whoever holds one open can go
on reading while a newer one is published; open the link again to see news. Times are UTC; money is decimal, in the `currency`
beside it, and never added across currencies. The same descriptions stand in the file itself (`comment on`), where tools show
them.

**This page is made by `docs/build.py` from the dictionary in `schemas/`.**
"""

RULES = """\
# The policy `consent-first`

Every run asks, for each address: what have the shops heard, what has the ESP heard, has either side just changed, and which of
the two is newer? Bounces and spam reports are settled before any rule: such a person is never mailed by us, and the other side
is told. Then the first line below that fits decides; a dash leaves the side as it is. "First decision" means that none about
this person has reached both sides yet. *Newer* means provably newer: where the order of two times cannot be known, the no wins.

A decision is explained by its rule: `shopsync explain demo EMAIL` shows it for one person, and the column `rule` of the
[snapshot](snapshot.md) for all.

**This page is made by `docs/build.py` from `data/rules/consent-first.csv`.**
"""

PLATFORMS = """\
# Platforms

What each platform can do, its limits, what is not possible and why. `shopsync platforms` says the same in the terminal, and
`shopsync check CONNECTION` looks what your shop and your account allow.

**This page is made by `docs/build.py` from what the connectors declare.**
"""

WORDS = {
    "subscribed": "subscribed",
    "pending": "not confirmed yet",
    "not_subscribed": "never said",
    "unsubscribed": "opted out",
    "absent": "unknown",
    "deleted": "deleted",
    "archived": "archived",
    "keep": "–",
    "*": "any",
}
ORDER = {"shop_newer": "the shop's is newer", "esp_newer": "the ESP's is newer", "unordered": "unknown which is newer", "*": ""}
PHASE = {"first": "first decision", "ongoing": "later", "*": ""}


def snapshot_page() -> str:
    parts = [SNAPSHOT, _relation("contacts", "One row per address and channel that either side knows.", CONTACTS)]
    for relation, table in RELATIONS.items():
        model = TABLES[table]
        columns = {name: spec.description or "" for name, spec in model.to_schema().columns.items()}
        parts.append(_relation(relation, (model.__doc__ or "").splitlines()[0], columns))
    return "\n".join(parts)


def _relation(name: str, grain: str, columns: dict[str, str]) -> str:
    lines = [f"## {name}", "", grain, "", "| column | meaning |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{column}` | {_cell(text)} |" for column, text in columns.items()), ""])


def rules_page() -> str:
    with (DOCS.parent / "data" / "rules" / "consent-first.csv").open(encoding="utf-8", newline="") as file:
        rules = list(csv.DictReader(file))
    lines = ["| rule | in the shops | at the ESP | and | then the ESP | then the shops | in words |", "| " + "--- | " * 7]
    for rule in sorted(rules, key=lambda rule: int(rule["precedence"])):
        shop = _words(rule["shop"]) + {"yes": ", just changed", "no": ", unchanged", "*": ""}[rule["shop_moved"]]
        esp = _words(rule["esp"]) + {"yes": ", just changed", "no": ", unchanged", "*": ""}[rule["esp_moved"]]
        times = " or ".join(ORDER[word] for word in rule["time_order"].split("|"))
        case = "; ".join(filter(None, (PHASE[rule["phase"]], times)))
        cells = (rule["rule"], shop, esp, case, WORDS[rule["set_esp"]], WORDS[rule["set_shop"]], rule["sentence"])
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join([RULES, *lines, ""])


def _words(value: str) -> str:
    return " or ".join(WORDS[word] for word in value.split("|"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def platforms_page() -> str:
    parts = [PLATFORMS]
    for kind, listed in platforms().items():
        parts += [f"## {kind[0].upper()}{kind[1:]}", "", *_can(listed)]
        for platform in listed:
            parts += ["", f"### {platform['name']}", "", f"Limits: {platform['limits']}.", ""]
            parts += [f"- {note}" for note in platform["notes"]]
        parts.append("")
    return "\n".join(parts)


def _can(listed: list[dict[str, Any]]) -> list[str]:
    head = ["| | " + " | ".join(platform["name"] for platform in listed) + " |", "| --- |" + " :---: |" * len(listed)]
    rows = {said: " | ".join("yes" if platform["can"][said] else "–" for platform in listed) for said in listed[0]["can"]}
    return head + [f"| {said} | {cells} |" for said, cells in rows.items()]


def readme() -> str:
    """The README with its tables of platforms made anew, between two comments that nobody sees."""
    before, _, rest = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = [line for listed in platforms().values() for line in [*_can(listed), ""]]
    return "\n".join([before + BEGIN, "", *tables]) + END + after


BEGIN, END = "<!-- platforms: made by docs/build.py -->", "<!-- /platforms -->"
PAGES = {"snapshot.md": snapshot_page, "rules.md": rules_page, "platforms.md": platforms_page, "../README.md": readme}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
