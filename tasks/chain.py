"""The chain: proof that no consent event was changed, removed or slipped in afterwards.

Each event has a commitment: a hash over a random salt and the event. A link closes over the commitments that came since the
link before it, and its head is a hash over its content and the head before it; so the last head stands for everything that was
ever recorded. Heads are also noted in a file outside the state. Erasing a person destroys the events and their salts: the
commitments stay, prove that there was something, and tell nobody what.

A link is noted as closing, then committed, then noted as closed. So whenever a run is killed, a head that the file calls closed
is one that the state had, and every link of the state has been noted.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from schemas.state import TABLES
from tasks import rules
from tasks.notes import add_notes, read_notes
from tasks.state import Database, State, rows


def _event_as_text() -> str:
    """SQL for a row of `events` as a JSON object, times in microseconds since 1970. A null is left out, so that a column that a
    later version adds changes no commitment made before."""
    columns = TABLES["consent.events"].to_schema().columns
    instants = {name for name, spec in columns.items() if isinstance(spec.dtype.type, pl.Datetime)}
    values = {name: f"epoch_us(events.{name})" if name in instants else f"events.{name}" for name in columns}
    fields = ", ".join(f"""'"{name}":' || to_json({value})""" for name, value in values.items())
    return f"'{{' || concat_ws(',', {fields}) || '}}'"


EVENT = _event_as_text()
CONTENT = "concat_ws('|', number, run_id, epoch_us(closed_at), events, erased, root, previous_head)"
CHANGES = """
    select link as number, '+' || commitment as change from consent.commitments
    union all
    select erased_in as number, '-' || commitment as change from consent.commitments where erased_in is not null
"""
"""One row per thing that a link closes over: an event that came, an event that was erased."""
TOTALS = """
    count(*) filter (where starts_with(change, '+')) as events,
    count(*) filter (where starts_with(change, '-')) as erased,
    sha256(string_agg(change, ',' order by change)) as root
"""


@dataclass(frozen=True)
class Head:
    """Where a chain ends: its last link. Number 0 is a chain that has not begun."""

    number: int = 0
    head: str = ""


def last(database: Database) -> Head:
    row = database.execute("select number, head from consent.chain order by number desc limit 1").fetchone()
    return Head(*row) if row else Head()


@contextlib.contextmanager
def closing(state: State, run_id: str) -> Iterator[Database]:
    """The state, open for one step; with it the chain is closed over everything that came since its last link."""
    with state.open() as database:
        yield database
        before, after = last(database), close(database, run_id, datetime.now(UTC))
        if after != before:
            note(state.heads, "closing", after)
    if after != before:
        note(state.heads, "closed", after)


def seal(state: State, run_id: str) -> Head:
    """Close the chain over everything that came since its last link; returns its end."""
    with closing(state, run_id):
        pass
    with state.open() as database:
        return last(database)


def close(database: Database, run_id: str, at: datetime) -> Head:
    """Append a link over what came since the last one, if anything did; whichever run saw it: one that was killed closes
    nothing. Returns the end of the chain."""
    number = last(database).number + 1
    _commit_to(database, number)
    database.execute(
        f"""
        insert into consent.chain by name
        with content as (
            select
                $number as number, $run_id as run_id,
                greatest($at, (select max(closed_at) from consent.chain), (select max(recorded_at) from consent.events))
                    as closed_at,
                totals.*,
                coalesce((select head from consent.chain where number = $number - 1), '') as previous_head
            from (select {TOTALS} from ({CHANGES}) where number = $number) as totals
            where root is not null
        )
        select *, sha256({CONTENT}) as head from content
        """,
        {"number": number, "run_id": run_id, "at": at},
    )
    return last(database)


def _commit_to(database: Database, number: int) -> None:
    """Give each event that has none its salt and commitment, as part of the link of that number.

    The salts are hashes with a secret that is forgotten at once: DuckDB's own random numbers can be foretold from each other,
    and who could work out a salt could guess whom an erased event was about.
    """
    database.execute(
        f"""
        insert into consent.commitments by name
        select $number as link, sha256(salt || {EVENT}) as commitment, event_id, salt, null as erased_in
        from (
            select *, sha256($secret || event_id) as salt
            from consent.events anti join consent.commitments using (event_id)
        ) as events
        """,
        {"number": number, "secret": secrets.token_hex(32)},
    )


def erase(database: Database, address: str) -> int:
    """Destroy the events of an address and their salts, and keep their commitments; returns how many there were. An opt-in that
    another address has from there goes with them, for it derives from what is erased (behaviour 12.1); an opt-out stays.

    To be called while the chain is `closing`: the next link says what was erased, which tells an erasure from a manipulation.
    """
    database.execute(
        """
        create or replace temp table erased as
        with recursive derived as (
            select event_id from consent.events where address = $1
            union
            select copies.event_id
            from consent.events as copies
            inner join derived on copies.caused_by = derived.event_id
            where copies.kind in ('opted_in', 'pending')
        )
        from derived
        """,
        [address],
    )
    return _erase(database)


def erase_events(database: Database, event_ids: Sequence[str]) -> int:
    """Destroy single events in the same way, as when one names somebody else who is erased."""
    rules.bind(database, "erased", pl.DataFrame({"event_id": list(event_ids)}, schema={"event_id": pl.String}))
    return _erase(database)


def _erase(database: Database) -> int:
    number = last(database).number + 1
    _commit_to(database, number)
    database.execute(
        "update consent.commitments set event_id = null, salt = null, erased_in = $1 where event_id in (from erased)", [number]
    )
    (count,) = database.execute("delete from consent.events where event_id in (from erased)").fetchone() or (0,)
    return int(count)


# The file of heads


def note(file: Path, word: Literal["closing", "closed", "accepted"], end: Head) -> None:
    """Append a line to the file of heads. Raises SetupError when it cannot be written: then nothing is committed either."""
    add_notes(file, [{"word": word, "number": end.number, "head": end.head, "at": datetime.now(UTC)}])


def notes(file: Path) -> list[dict[str, Any]]:
    """The lines of the file of heads from the last one that was accepted; what cannot be read is as good as missing."""
    found = read_notes(file, ("word", "number", "head", "at"))
    start = max((i for i, said in enumerate(found) if said["word"] == "accepted"), default=0)
    return found[start:]


# The proof


@dataclass(frozen=True)
class Break:
    """The first link that cannot be proved, and why in one sentence. `is_noted_otherwise`: the chain is whole in itself, but is
    not the one that the file of heads tells of."""

    link: int
    sentence: str
    is_noted_otherwise: bool = False


def verify(state: State, *, accept: bool = False) -> dict[str, Any]:
    """Compute the whole chain again from the events, compare, and say where it ends or which link is the first broken one.

    Writes nothing, unless to `accept` a whole chain that is not the one noted in the file of heads: then it is the one from now
    on. Returns {"whole", "link", "head", "events", "erased", "waiting", "accepted_at", "broken": {"link", "sentence"} or None}.
    """
    with state.open() as database:
        end, broken = last(database), first_break(database, state.heads)
        if accept and broken and broken.is_noted_otherwise:
            note(state.heads, "accepted", end)
            broken = first_break(database, state.heads)
        (counts,) = rows(database, COUNTS)
    accepted_at = [line["at"] for line in notes(state.heads)[:1] if line["word"] == "accepted"]
    return {
        "whole": broken is None,
        "link": end.number,
        "head": end.head,
        **counts,
        "accepted_at": accepted_at[0] if accepted_at else None,
        "broken": {"link": broken.link, "sentence": broken.sentence} if broken else None,
    }


COUNTS = """
select
    count(commitments.event_id) as events,
    count(commitments.erased_in) as erased,
    count(*) filter (where commitments.link is null) as waiting
from consent.commitments as commitments
full join consent.events as events on commitments.event_id = events.event_id
"""
"""Events that a link closes over, events that were erased, events that wait for the end of a run."""


def first_break(database: Database, file: Path) -> Break | None:
    """The first link that cannot be proved, by the state alone or by the file of heads; None when the chain is whole."""
    found = [*_breaks_inside(database), *_breaks_outside(database, file)]
    return min(found, key=lambda each: each.link, default=None)


PROOF = f"""
with links as (
    select
        *,
        row_number() over (order by number) as position,
        head <> sha256({CONTENT}) as is_changed,
        previous_head <> lag(head, 1, '') over (order by number) as is_misplaced
    from consent.chain
),

closed_over as (
    select number, {TOTALS} from ({CHANGES}) group by number
),

events_found as (
    select
        commitments.link as number,
        count(*) filter (where events.event_id is null) as removed,
        count(*) filter (where events.event_id is not null and sha256(salt || {EVENT}) <> commitment) as altered,
        count(events.event_id) - count(distinct events.event_id) as doubled
    from consent.commitments as commitments
    left join consent.events as events on commitments.event_id = events.event_id
    where commitments.erased_in is null
    group by commitments.link
),

-- What had been recorded when a link was closed stands in that link or in one before it.
slipped_in as (
    select links.number, count(*) as slipped
    from consent.events as events
    asof join consent.chain as links on events.recorded_at < links.closed_at
    left join consent.commitments as commitments on events.event_id = commitments.event_id
    where coalesce(commitments.link > links.number, true)
    group by links.number
)

select
    coalesce(links.position, number) as number,
    links.position is null or links.number > links.position as is_missing,
    links.is_misplaced or links.number < links.position as is_misplaced,
    links.is_changed,
    (links.events, links.erased, links.root) is distinct from (closed_over.events, closed_over.erased, closed_over.root)
        as is_uncovered,
    removed,
    altered,
    coalesce(doubled, 0) + coalesce(slipped, 0) as added
from links
full join closed_over using (number)
left join events_found using (number)
left join slipped_in using (number)
where is_missing or is_misplaced or is_changed or is_uncovered or removed > 0 or altered > 0 or added > 0
order by all
"""
"""One row per link that cannot be proved from what the state holds."""

RESTORE = "Keep this state as evidence, and restore a backup that `verify` calls whole."
_REASONS = {
    "is_missing": "link {number} was removed",
    "is_misplaced": "link {number} does not follow the link before it: one was removed, added or changed",
    "is_changed": "link {number} was changed: its head does not come from its content",
    "is_uncovered": "link {number} does not close over its commitments: one was removed, added or changed",
    "removed": "events of link {number} were removed without an erasure ({removed})",
    "altered": "events of link {number} were changed ({altered})",
    "added": "events were added to those that link {number} had closed over ({added})",
}


def _breaks_inside(database: Database) -> Iterator[Break]:
    """What the state itself shows: every link recomputed from its events."""
    for row in rows(database, PROOF):
        reason = next(reason for name, reason in _REASONS.items() if row[name])
        yield Break(row["number"], f"{reason.format(**row)}. {RESTORE}")


def _breaks_outside(database: Database, file: Path) -> Iterator[Break]:
    """What only the file of heads shows: a chain that is whole, and is not the one that was noted."""
    heads = {0: ""} | dict(database.execute("select number, head from consent.chain").fetchall())
    end, said = max(heads), notes(file)
    older = "the state is an older copy, as after a restored backup"
    accept = "If that was meant, `verify --accept` goes on from here; opt-outs heard in between come back with `sync --full`."
    for line in said:
        number, at = line["number"], line["at"][:16].replace("T", " ")
        if line["word"] == "closing" or heads.get(number) == line["head"]:
            continue
        if number > end:
            yield Break(
                end + 1, f"the state ends with link {end}, but link {number} was closed at {at}: {older}. {accept}", True
            )
        else:
            why = f"{older} and went on from there, or its chain was made anew"
            yield Break(number, f"link {number} is not the one that was closed at {at}: {why}. {accept}", True)
    noted = {(line["number"], line["head"]) for line in said}
    begun = said[0]["number"] + 1 if said and said[0]["word"] == "accepted" else 1
    for number in range(begun, end + 1):
        if (number, heads.get(number)) not in noted:
            yield Break(
                number,
                f"link {number} stands in the state and not in {file}: the file was cut, replaced or moved. Put it back from "
                "where it is kept; if it is lost, `verify --accept` begins a new one.",
                True,
            )
            return
