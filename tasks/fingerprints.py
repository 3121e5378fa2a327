"""Which shop this connection was first synced with: a copy of it (staging) may not write to the live audience."""

from __future__ import annotations

from tasks.connector import SetupError
from tasks.run import Run
from tasks.state import Database, fact, remember


def recognise(run: Run, name: str, *, remembers: bool = True) -> None:
    """Stop when another shop answers than the one this connection was first synced with (behaviour 11.4).

    `remembers`: what is seen for the first time is written down; a mere look writes nothing.
    """
    found = run.shops[name].fingerprint()
    with run.state.open() as database:
        known_home, known_id = (fact(database, f"fingerprint:{name}:{part}") for part in ("home", "id"))
        if known_home is None or (known_home == found.home == known_id and found.shop_id):
            # At first sight; or it shows an id of its own only now, after an update or with a better key.
            if remembers:
                remember(database, f"fingerprint:{name}:home", found.home)
                remember(database, f"fingerprint:{name}:id", found.shop_id or found.home)
            return
    if known_home != found.home:
        raise SetupError(
            f"Shop {name} calls itself {found.home}, but this connection was first synced with {known_home}: a copy of a "
            f"shop may not write to the live audience. If it has moved, run `shopsync check {run.name} --accept-move {name}`."
        )
    if known_id != known_home and found.shop_id is None:
        raise SetupError(
            f"Shop {name} does not show its id any more, so a copy could not be told from it: let the key's user see the "
            f"system status again, or run `shopsync check {run.name} --accept-move {name}`."
        )
    if known_id not in {found.shop_id, known_home}:
        raise SetupError(
            f"Shop {name} at {found.home} is another shop than the one this connection was first synced with: make "
            f"a new connection for it, or, if it was set up anew, run `shopsync check {run.name} --accept-move {name}`."
        )


def forget(run: Run, name: str) -> None:
    """The merchant says that this shop has moved: the next look remembers what it finds, and what it was is a former home.

    Raises SetupError for a shop that the connection does not have.
    """
    if name not in run.shops:
        raise SetupError(f"connection {run.name} has no shop {name!r}; it has {', '.join(run.shops)}.")
    with run.state.open() as database:
        if home := fact(database, f"fingerprint:{name}:home"):
            remember(database, f"former:{name}:{home}", home)
        database.execute("delete from ops.facts where starts_with(name, $1)", [f"fingerprint:{name}:"])


def former_homes(database: Database, name: str) -> list[str]:
    """Where this shop was before the moves that the merchant accepted: what is known there by such an address is its own."""
    found = database.execute("select value from ops.facts where starts_with(name, $1) order by all", [f"former:{name}:"])
    return [home for (home,) in found.fetchall()]
