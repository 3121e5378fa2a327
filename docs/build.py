"""Writes the pages that say what the code says: docs/snapshot.md, docs/rules.md, docs/platforms.md and the README's table of
platforms. Run: python docs/build.py

A test compares the pages with what this makes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import polars as pl

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from flows.platforms import platforms  # noqa: E402
from schemas.state import TABLES  # noqa: E402
from tasks import rules  # noqa: E402
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
# Policies and their rules

Every run asks, for each address: what have the shops heard, what has the ESP heard, has either side just changed, and which of
the two is newer? Bounces and spam reports are settled before any rule: such a person is never mailed by us, and the other side
is told. Then the first line of the policy that fits decides; a dash leaves the side as it is. "First decision" means that none
about this person has reached both sides yet. *Newer* means provably newer: where the order of two times cannot be known, the no
wins.

`policy` in [shopsync.toml](configuration.md) names one of these:

| policy | in one sentence |
| --- | --- |
| [`consent-first`](#3-consent-first) | A yes counts if it is newer than every no, wherever it was said. |
| [`mailchimp-for-shopify`](#4-mailchimp-for-shopify) | At first the ESP's subscribers stay so; later each side follows. |
| [`newsletter2go`](#5-newsletter2go) | The shop leads: only opt-outs, bounces and complaints come back to it. |
| [`cleverreach`](#6-cleverreach) | Everybody in a chosen group who did not say no is made active. |

"Subscribed" set by a merchant's hand in a shop is an opt-in only as a change that we saw, never over a bounce or a spam report,
and never newer than an opt-out of the person that this shop has not heard of. That needs a shop that tells who did it. Neither
Shopify nor WooCommerce does: what they say counts as the person's own, and only its times decide.

A decision is explained by its rule: `shopsync explain demo EMAIL` shows it for one person, and the column `rule` of the
[snapshot](snapshot.md) for all. A rule's paragraph is that of this page; rules without a dot are those of `consent-first`.

## Exceptions

Under every policy nobody becomes subscribed without an opt-in that is newer than every opt-out. There are two exceptions, and
no others. Each is named in the table's line, in the decision (column `exception` of `decisions` and `contacts`) and in what
`plan` shows, so that you can count whom it touches. Nobody is touched until you
[approve the plan](operations.md#approving) that names them; everything else goes on meanwhile.

- **E1** (4.1): at the first sync the shop's opt-out is overruled by the subscription at the ESP. It never overrules an opt-out
  at the ESP, one that followed the person from another address, one that came after the decision, a bounce or a complaint. An
  opt-out that comes later counts as ever.
- **E3** (6.1): people in a chosen group are made active at the ESP without an opt-in. You answer for the legal ground. It is no
  opt-in: the shop is not told, and nobody who opted out, bounced, complained or has not confirmed yet is touched.

## A table of your own

`policy` can also be the path of a CSV file in the form of those in `data/rules/`. A line is a case and what to do in it; `*` is
any value, `a|b` is a or b, and the line with the lowest `precedence` decides. Facts that your table does not ask for may be
left out. A line with `as consent-first` in both `set_esp` and `set_shop` takes over what that policy does in the case. Loading
refuses a table that leaves a case open, decides one twice, uses an unknown word, has a line that nothing reaches, or would mail
somebody who said no or never said yes. Only a line that itself names E1 or E3 in the column `exception` may do what that
exception excuses, and a line that takes over a policy with an exception must name it too.

**This page is made by `docs/build.py` from `data/rules/`.**
"""

POLICIES = {
    "consent-first": (
        "3",
        "The default. Whoever is in none of your chosen groups is not added. The paragraphs are the lines themselves.",
    ),
    "mailchimp-for-shopify": (
        "4",
        """\
- **4.1** At the first sync a contact who is subscribed at the ESP is never unsubscribed, and the shop is set to subscribed,
  whatever it says (exception E1). All other customers go to the ESP with the shop's status. Who has not confirmed in the shop
  yet is left alone.
- **4.2** Who is unsubscribed at the ESP and subscribed in the shop stays unsubscribed, and the shop is told, unless the opt-in
  in the shop is newer.
- **4.3** Later, a new customer who ticked the box becomes subscribed, and one who did not becomes a contact all the same. A
  subscriber who buys without ticking stays subscribed; who unsubscribed and ticks later is subscribed again. What is set by
  hand on one side is followed by the other.
- **4.4** Who opted out in the shop is created as unsubscribed. An opt-out that follows an address change beats 4.1. Everything
  else is as `consent-first` has it.""",
    ),
    "newsletter2go": (
        "5",
        """\
- **5.2** What comes back to the shop is exactly: unsubscribes, hard bounces and complaints.
- **5.3** Deleted in the shop is archived at the ESP, but a contact who opted out stays, with the opt-out. Deleted at the ESP is
  neither deleted in the shop nor created again.
- **5.5** The shop's moves decide. An opt-in collected at the ESP stays at the ESP: it is not written to the shop, and a missing
  tick there does not undo it; only an opt-out does. Everything else is as `consent-first` has it.""",
    ),
    "cleverreach": (
        "6",
        """\
- **6.1** Everybody in a chosen group is transferred as active. For buyers and contacts that means without an opt-in (exception
  E3). Never anybody who is unsubscribed on either side, suppressed or pending.
- **6.2** Everything else is as `consent-first` has it.""",
    ),
}
"""Each policy's section of the page, and what it says before its lines."""

SMS = """\
## 9. Text messages

Consent to text messages is held by the phone number, apart from that to mail, and the table is the same under every policy. It
goes from the shops to the ESP only, after the first sync, while `sms` is switched on.

- **9.1** An opt-in is sent if it was provably given since `sms_since`, to the contact of the account that gave it. An opt-out
  in any shop is sent to every contact with the number, whenever it was given. Nobody is added to the ESP for text messages.
- **9.2** A STOP at the ESP is stored and blocks us; the shop is not told. Only an opt-in that is newer than the STOP ends it:
  the shop still says yes from before, so what counts is when that was said, and where nobody can know, the STOP stands.

A number needs its country code: one without is left out and listed by `rejected`, and e-mail goes on. With a new number an
opt-out goes along and stays with the old one as well.
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
CHANGED = {"yes": ", just changed", "no": ", unchanged", "*": ""}
CARRIED = {"yes": "the shop's opt-out came from another address", "no": "said at this address", "*": ""}
CHOSEN = {"yes": "in a chosen group", "no": "in no chosen group", "*": ""}
SINCE = {"yes": "the shop's opt-in was given since the start date", "no": "given before the start date", "*": ""}
IN_SHOP = {
    "subscribed": "opted in in the shop",
    "pending": "has not confirmed in the shop",
    "not_subscribed": "never ticked the box in the shop",
    "unsubscribed": "opted out in the shop",
    "absent": "is unknown to the shop",
    "deleted": "was deleted in the shop",
}
AT_ESP = {
    "subscribed": "opted in at the ESP",
    "pending": "has not confirmed at the ESP",
    "not_subscribed": "is a contact who never opted in",
    "unsubscribed": "opted out at the ESP",
    "absent": "is unknown to the ESP",
    "deleted": "was deleted at the ESP",
}
DONE = {
    "subscribed": "she is subscribed at the ESP",
    "not_subscribed": "she becomes a contact who never opted in",
    "unsubscribed": "she is unsubscribed at the ESP",
    "archived": "her contact is archived",
}
TOLD = {"subscribed": "is subscribed", "unsubscribed": "opted out"}
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
    return "\n".join([RULES, *(_policy(name, *told) for name, told in POLICIES.items()), _sms()])


def _sms() -> str:
    """Text messages: one table under every policy. The shops are never told, so the page has no column for them."""
    table = rules.read_table(rules.SMS)
    cases = rules.expand(table, rules.SMS.name, rules.SMS_SIDES)
    lines = ["| rule | in the shops | at the ESP | and | then the ESP | in words | for example |", "| --- |" + " --- |" * 6]
    for rule in table.sort(pl.col("precedence").cast(int)).iter_rows(named=True):
        times = " or ".join(ORDER[word] for word in rule["time_order"].split("|"))
        case = "; ".join(filter(None, (times, SINCE[rule["chosen"]])))
        cells = [rule["rule"], _words(rule["shop"]), _words(rule["esp"]), case, WORDS[rule["set_esp"]], rule["sentence"]]
        lines.append("| " + " | ".join(map(_cell, [*cells, _example(cases, rule["rule"])])) + " |")
    return "\n".join([SMS, *lines, ""])


def _policy(name: str, section: str, says: str) -> str:
    """A policy whole: its own lines, and of the policy it takes over those that still decide a case."""
    cases = rules.expand(rules.read_table(rules.POLICIES / f"{name}.csv"), name)
    head = [
        "rule",
        "paragraph",
        "in the shops",
        "at the ESP",
        "and",
        "then the ESP",
        "then the shops",
        "in words",
        "for example",
    ]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    lines += [_line(rule, _example(cases, rule["rule"])) for rule in _lines(name) if rule["rule"] in set(cases["rule"])]
    return "\n".join([f"## {section}. {name}", "", says, "", *lines, ""])


def _lines(name: str) -> Iterator[dict[str, str]]:
    """In the order in which they are asked."""
    for rule in rules.read_table(rules.POLICIES / f"{name}.csv").sort(pl.col("precedence").cast(int)).iter_rows(named=True):
        if rule["set_esp"].startswith("as "):
            yield from _lines(rule["set_esp"].removeprefix("as "))
        else:
            yield rule


def _line(rule: dict[str, str], example: str) -> str:
    shop = _words(rule["shop"]) + CHANGED[rule["shop_moved"]]
    esp = _words(rule["esp"]) + CHANGED[rule["esp_moved"]]
    times = " or ".join(ORDER[word] for word in rule["time_order"].split("|"))
    case = "; ".join(filter(None, (PHASE[rule["phase"]], times, CARRIED[rule["shop_carried"]], CHOSEN[rule["chosen"]])))
    paragraph = rule["rule"].rstrip(ascii_lowercase)
    cells = [rule["rule"], paragraph if "." in paragraph else f"3.{paragraph}", shop, esp, case]
    cells += [WORDS[rule["set_esp"]], WORDS[rule["set_shop"]]]
    cells += [rule["sentence"] + (f" **Exception {rule['exception']}.**" if rule["exception"] else ""), example]
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _example(cases: pl.DataFrame, rule: str) -> str:
    """The most ordinary case that a rule decides, as a story about one person."""
    ordinary = [
        pl.col("shop").is_in(["absent", "deleted"]),
        pl.col("esp") == "absent",
        "shop_carried",
        pl.col("chosen") == "no",
    ]
    case = cases.filter(rule=rule).sort(*ordinary, *rules.DOMAINS).row(0, named=True)
    days = {
        "shop_newer": (" on 5 May", " on 1 May"),
        "esp_newer": (" on 1 May", " on 5 May"),
        "unordered": (" in May", " in May"),
    }
    has_said = {"subscribed", "unsubscribed"}
    both_said = {case["shop"], case["esp"]} <= has_said
    shop_day, esp_day = days[case["time_order"]] if both_said else ("", "")
    done = [DONE[case["set_esp"]]] if case["set_esp"] not in {"keep", case["esp"]} else []
    if case["set_shop"] not in {"keep", case["shop"]}:
        done.append(f"the shop is told that she {TOLD[case['set_shop']]}")
    told = f"Anna {IN_SHOP[case['shop']]}{shop_day} and {AT_ESP[case['esp']]}{esp_day}"
    return f"{told}: {' and '.join(done) or 'nothing is changed'}."


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
