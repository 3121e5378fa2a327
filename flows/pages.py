"""What commands print for people: tables and sentences. The same results go out as JSON with --json."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tasks.state import rows

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "error": "[bold red]error[/]"}
AT = {"esp": "ESP", "shop": "shop"}
EXCEPTIONS = ("E1", "E3")
OUTCOME_COLUMNS = ("planned", "acknowledged", "skipped", "rejected", "waiting")


@contextlib.contextmanager
def progress(console: Console) -> Iterator[None]:
    """Bars for every step while a flow runs; on a pipe, one line when a step is done."""
    from flows.watching import LISTENERS

    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:

        def listen(step: str, done: int, total: int | None) -> None:
            if step not in bars:
                bars[step] = shown.add_task(escape(step), total=total)
            shown.update(bars[step], completed=done, total=max(total or done, done))

        LISTENERS.append(listen)
        try:
            yield
        finally:
            LISTENERS.remove(listen)


def grid(found: Sequence[dict[str, Any]], title: str | None = None, numbers: Sequence[str] = ()) -> Table:
    """Rows as a table; empty cells for null."""
    made = Table(title=title, title_justify="left", header_style="bold", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in found[0] if found else ():
        made.add_column(column.replace("_", " "), justify="right" if column in numbers else "left", overflow="fold")
    for row in found:
        made.add_row(*[_cell(value) for value in row.values()])
    return made


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "hour") else f"{value:%Y-%m-%d}"
    return escape(str(value))


def findings(console: Console, found: list[dict[str, Any]]) -> None:
    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in found:
        made.add_row(MARKS[finding["level"]], escape(finding["where"]), escape(finding["sentence"]))
    console.print(made)
    errors = sum(finding["level"] == "error" for finding in found)
    console.print("Ready to sync." if not errors else f"{errors} to mend before the first sync.")


def platforms(console: Console, found: dict[str, list[dict[str, Any]]]) -> None:
    """A column a platform, a line a thing it may do; below what is not possible, and why."""
    for kind, listed in found.items():
        made = Table(title=kind, title_justify="left", title_style="bold", header_style="bold", box=None, padding=(0, 2, 0, 0))
        made.add_column("")
        for platform in listed:
            made.add_column(platform["name"], justify="center")
        for said in listed[0]["can"]:
            made.add_row(said, *("[green]yes[/]" if platform["can"][said] else "[dim]–[/]" for platform in listed))
        console.print(made)
        for platform in listed:
            console.print(f"\n[bold]{platform['name']}[/]  Limits: {escape(platform['limits'])}.", highlight=False)
            for note in platform["notes"]:
                console.print(Padding(f"· {escape(note)}", (0, 0, 0, 2)), highlight=False)
        console.print()


def planned(console: Console, result: dict[str, Any]) -> None:
    """A dry run: who would change, by which rule, and what would be sent."""
    _read(console, result)
    _changes(console, result, "What would change")
    if result["sample"]:
        console.print(grid(sample(result["sample"]), "Some of these people"))
        console.print()
    if result["writes"]:
        console.print(grid(result["writes"], "What would be sent", ("writes",)))
        console.print()
    total = sum(row["writes"] for row in result["writes"])
    console.print(f"{result['people']:,} people known; {total:,} writes would be sent. Nothing was written to either side.")
    _attention(console, result)


def sample(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some people of each change."""
    return [
        {
            "person": row["address"],
            "at": AT[row["side"]],
            "from": row["status_before"],
            "to": row["status_after"],
            "rule": row["rule"],
            "": "waits for approval" if row["waits"] else "",
        }
        for row in found
    ]


def otherwise(console: Console, result: dict[str, Any]) -> None:
    """Who would be decided otherwise under another policy."""
    if result["changes"] is None:
        console.print(
            "Cannot tell: nothing has been read yet. Run `shopsync plan` first, which reads both sides and sends nothing."
        )
        return
    table = [
        {
            "people": row["people"],
            "at": AT[row["side"]],
            "is": row["status"],
            f"becomes by {result['instead_of']}": row["becomes_now"],
            f"by {result['policy']}": row["becomes_then"],
            "rule": _rule(row),
            "why": row["sentence"],
        }
        for row in result["changes"]
    ]
    if table:
        console.print(grid(table, "Who would be decided otherwise", ("people",)))
        console.print()
    at = {side: sum(row["people"] for row in result["changes"] if row["side"] == side) for side in AT}
    console.print(
        f"Of {result['people']:,} people, {at['esp']:,} would end otherwise at the ESP and {at['shop']:,} in the shop under "
        f"{result['policy']} instead of {result['instead_of']}. Nothing was read or sent.",
        soft_wrap=True,
    )


def done(console: Console, result: dict[str, Any]) -> None:
    """A sync or a reverse run: what was read, who changed, what was written."""
    _read(console, result)
    _changes(console, result, "What changed")
    if result["writes"]:
        console.print(grid(result["writes"], "What was written", OUTCOME_COLUMNS))
        console.print()
    acknowledged = sum(row["acknowledged"] for row in result["writes"])
    console.print(
        f"{result['people']:,} people known; {acknowledged:,} writes acknowledged"
        + (", nothing to write." if not result["writes"] else ".")
    )
    _attention(console, result)


def _read(console: Console, result: dict[str, Any]) -> None:
    if result["read"]:
        console.print(grid(result["read"], "What was read", ("extracted", "changed", "unchanged", "rejected")))
        console.print()


def changes(transitions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who changes, in the words and the order in which people read it; numbers first, as a narrow window cuts the rest."""
    return [
        {
            "people": row["people"],
            "at": AT[row["side"]],
            "from": row["status_before"],
            "to": row["status_after"],
            "rule": _rule(row),
            "why": row["sentence"],
        }
        for row in transitions
    ]


def _rule(row: dict[str, Any]) -> str:
    reason = row.get("guard") or row.get("exception")
    if reason is None:
        return str(row["rule"])
    return f"{row['rule']}, {'exception' if reason in EXCEPTIONS else 'guard'} {reason}"


def _changes(console: Console, result: dict[str, Any], title: str) -> None:
    if result["transitions"]:
        console.print(grid(changes(result["transitions"]), title, ("people",)))
        console.print()


def _attention(console: Console, result: dict[str, Any]) -> None:
    name = result["connection"]
    for plan in result["waiting"]:
        command = {"forward": "sync", "reverse": "reverse"}[plan["flow"]]
        console.print()
        console.print(grid(changes(plan["changes"]), f"What waits for your approval, as plan {plan['plan']}", ("people",)))
        console.print(
            f"Nobody of these {plan['people']:,} is changed until you approve: "
            f"[bold]shopsync {command} {name} --plan {plan['plan']}[/]",
            highlight=False,
            soft_wrap=True,
        )
    if result["needs_confirmation"]:
        console.print(
            f"{result['needs_confirmation']:,} people opted in again in the shop, but the ESP subscribes them only when they "
            "confirm by mail themselves: they stay unsubscribed."
        )
    if result["erased"]:
        found = f"; [bold red]{result['found_again']:,} places still hold them[/]" if result["found_again"] else ""
        console.print(f"{result['erased']:,} people who asked for it were erased{found}.")
    for request in result["requests"]:
        what = {"export": "a copy of what is known about them", "erase": "to be erased"}[request["kind"]]
        who = "A shop asks for everybody in it" if request["is_whole_shop"] else f"{request['people']:,} people ask for {what}"
        what = " to be erased" if request["is_whole_shop"] else ""
        console.print(
            f"[yellow]{who}{what}[/], due by {_cell(request['due_at'])[:10]}: `shopsync requests {name}`", soft_wrap=True
        )
    if result["rejected"]:
        console.print(f"[yellow]{result['rejected']:,} rejected[/]: `shopsync rejected {name}` says what to correct.")


def rejected_rows(snapshot: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """What waits for a correction: rows that failed a check, writes that were refused and not accepted since."""
    return rows(
        snapshot,
        """
        select source, entity, record_id, field, advice, rejected_at from rejected_rows
        union all
        select target, kind, coalesce(address, key), code, message, settled_at from (
            from writes where settled_at is not null
            qualify row_number() over (partition by target, kind, key order by settled_at desc) = 1
        ) where state = 'rejected'
        order by source, entity, advice, record_id
        """,
    )


def rejected(console: Console, found: list[dict[str, Any]]) -> None:
    """Grouped by what to do, since that is the question."""
    for advice in dict.fromkeys(row["advice"] for row in found):
        console.print(f"[bold]{escape(advice)}[/]")
        for row in found:
            if row["advice"] == advice:
                where = "refused by the ESP" if row["source"] == "esp" else f"from {row['source']}"
                console.print(f"  {row['entity']} {escape(row['record_id'])} [dim]{escape(str(row['field']))}, {where}[/]")
        console.print()
    console.print(
        f"{len(found):,} to correct. Each is tried again when it changes, or with --retry." if found else "Nothing is rejected."
    )


def retried(console: Console, result: dict[str, int]) -> None:
    console.print(
        f"{result['rows']:,} rows tried again, {result['still_rejected']:,} rejected still; {result['writes']:,} refused "
        "writes are planned again by the next sync."
    )


def proof(console: Console, found: dict[str, Any]) -> None:
    """Whether the chain of consent events is whole; else the first broken link and what to do."""
    if found["broken"]:
        console.print(f"[bold red]Broken:[/] {escape(found['broken']['sentence'])}", highlight=False, soft_wrap=True)
        return
    erased = f", {found['erased']:,} erased" if found["erased"] else ""
    waiting = f" {found['waiting']:,} more wait for the end of a run." if found["waiting"] else ""
    console.print(f"Whole: {found['events']:,} events in the chain{erased}.{waiting}")
    if found["accepted_at"]:
        console.print(f"Accepted as it stood on {found['accepted_at'][:10]}: heads noted before that are not compared.")
    if found["link"]:
        console.print(f"Head of link {found['link']:,}: {found['head']}", highlight=False, soft_wrap=True)


def query(snapshot: duckdb.DuckDBPyConnection, text: str | None) -> list[dict[str, Any]]:
    """The rows of a query; without one, the relations with their comments."""
    if text is not None:
        return rows(snapshot, text)
    return rows(
        snapshot,
        """
        select table_name as relation, estimated_size as rows, comment as meaning from duckdb_tables() order by table_name
        """,
    )


def table(console: Console, found: list[dict[str, Any]]) -> None:
    console.print(grid(found) if found else "No rows.")


def relations(console: Console, found: list[dict[str, Any]], connection: str) -> None:
    console.print(grid(found, numbers=("rows",)))
    console.print(f'\nTry: shopsync sql {connection} "select esp_status, count(*) from contacts group by all"')


SAID = {
    "opted_in": "opted in",
    "opted_out": "opted out",
    "pending": "asked to be subscribed, not confirmed yet",
    "bounced": "mail bounced",
    "complained": "reported us as spam",
    "deleted": "was deleted or archived",
    "returned": "was there again",
}
ABOUT = {"email": "", "sms": " for text messages"}
BY = {"self": "the person", "merchant": "the merchant", "system": "shopsync, handing on what was said elsewhere"}


def story(console: Console, told: dict[str, Any]) -> None:
    """One person's story: who they are, and what happened in which order, newest last."""
    person = told["person"][0] if told["person"] else {}
    console.print(f"[bold]{escape(person.get('email', told['address']))}[/]")
    if person:
        console.print(f"  in the shops  {person['shop_status']}\n  at the ESP    {person['esp_status'] or 'absent'}")
        console.print(f"  because       {escape(person['sentence'])} [dim](rule {person['rule']})[/]")
    for texts in told["person"][1:]:
        console.print(f"  texts         {texts['address']}: {escape(texts['sentence'])} [dim](rule {texts['rule']})[/]")
    for account in told["accounts"]:
        gone = f", gone since {_cell(account['deleted_at'])}" if account["deleted_at"] else ""
        name = " ".join(filter(None, (account["first_name"], account["last_name"]))) or "no name"
        account_line = f"{name}, customer {account['customer_id']} of {account['shop']}{gone}"
        console.print(f"  account       {escape(account_line)}")
    for former in told["addresses"]:
        if former["address"] != told["address"]:
            line = f"{former['address']}, {former['account'].removeprefix('customer:')} of {former['shop']}"
            console.print(f"  also had      {escape(line)}")
    for order in told["orders"]:
        line = f"{order['number']} of {order['ordered_at']:%Y-%m-%d}: {order['paid']:.2f} {order['currency']}, {order['state']}"
        console.print(f"  order         {escape(line)}{', ticked' if order['ticked'] == 'in' else ''}")
    console.print()
    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _, when, what in sorted(_happenings(told), key=lambda happening: happening[0]):
        made.add_row(f"[dim]{when}[/]", what)
    console.print(made)


def requests(console: Console, found: list[dict[str, Any]]) -> None:
    console.print(grid(found) if found else "No request waits.")


def erased(console: Console, told: dict[str, Any]) -> None:
    """What is left of somebody who was erased."""
    stone = told["erased"]
    console.print(
        f"Erased on {_cell(stone['erased_at'])}. Nothing is kept but a keyed hash, which keeps them from being mailed:"
    )
    console.print(stone["hash"], highlight=False)


AT_ESP = {
    "deleted": "The contact at the ESP was deleted for good: it can never be imported again, only the person can come back.",
    "archived": "The contact at the ESP was archived: the ESP still holds it.",
    "kept": "The contact at the ESP was left alone.",
    "absent": "The ESP held no contact.",
}
WOULD_AT_ESP = {
    "delete": "At the ESP the contact, its customer and its orders are deleted for good. What is deleted for good can never be "
    "imported again: the person comes back only by the ESP's own form. --at-esp archive only archives it, --at-esp keep leaves "
    "it alone.",
    "archive": "At the ESP the contact is archived, which can be taken back: the ESP still holds what it knows.",
    "keep": "The contact at the ESP is left alone: the ESP still holds what it knows.",
}


def would_erase(console: Console, found: dict[str, Any], how: str) -> None:
    """What would go, before anybody says yes."""
    if found["removed"]:
        console.print(grid([{"table": t, "rows": n} for t, n in found["removed"].items()], "What would be erased", ("rows",)))
    else:
        console.print("Nothing is known of this address. A tombstone is left all the same: it will not be mailed.")
    console.print()
    console.print(WOULD_AT_ESP[how], soft_wrap=True)
    console.print("The shops are not changed: what they hold is neither stored nor sent any more.")
    _former(console, found)


def _former(console: Console, found: dict[str, Any]) -> None:
    for former in found["former_addresses"]:
        line = f"The account had another address before, {former}: if it is theirs, erase it too."
        console.print(f"[yellow]{escape(line)}[/]", soft_wrap=True)


def has_erased(console: Console, told: dict[str, Any]) -> None:
    """What went, and what the search found."""
    rows_gone = sum(told["removed"].values())
    console.print(f"Erased: {rows_gone:,} rows in {len(told['removed']):,} tables, and the snapshots that held them.")
    for how in dict.fromkeys(told["at_esp"]):
        console.print(AT_ESP[how], soft_wrap=True)
    searched = told["searched"]
    console.print(
        f"Searched {searched['columns']:,} columns of {searched['tables']:,} tables, and {searched['files']:,} files: "
        + (
            "nothing is left but keyed hashes."
            if not told["found"]
            else f"[bold red]found in {len(told['found']):,} places[/]."
        ),
        soft_wrap=True,
    )
    for place in told["found"]:
        console.print(f"  {escape(place)}", highlight=False)
    _former(console, told)


def _happenings(told: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(sort key, when, what) of everything that was said, decided and written."""
    for event in told["events"]:
        where = "ESP" if event["side"] == "esp" else f"shop {event['source']}"
        when = _cell(event["latest_at"])
        since = (
            "" if event["earliest_at"] == event["latest_at"] else f" [dim]at some time since {_cell(event['earliest_at'])}[/]"
        )
        inferred = ", concluded from an emptied value" if event["is_inferred"] else ""
        yield (
            f"{event['as_of_at']}1",
            when,
            f"[bold]{SAID[event['kind']]}[/]{ABOUT[event['channel']]} in {where}, by {BY[event['actor']]}{inferred}{since}",
        )
    for decision in told["decisions"]:
        todo = [f"{side}: {decision[f'set_{side}']}" for side in ("esp", "shop") if decision[f"set_{side}"] != "keep"]
        sets = f" [cyan]{', '.join(todo)}[/]" if todo else ""
        skipped = f" [yellow]not written: {escape(decision['skipped'])}[/]" if decision["skipped"] else ""
        when = _cell(decision["decided_at"])
        rule = f"rule {decision['rule']}{ABOUT[decision['channel']]}"
        yield f"{decision['decided_at']}2", when, f"{rule}: {escape(decision['sentence'])}{sets}{skipped}"
    for write in told["writes"]:
        at = write["settled_at"] or write["sent_at"] or write["planned_at"]
        why = f" [yellow]{escape(write['message'])}[/]" if write["message"] else ""
        yield f"{at}3", _cell(at), f"[dim]{write['kind']} to {write['target']}: {write['state']}[/]{why}"
