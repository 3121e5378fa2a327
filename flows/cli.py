"""The command line. It parses, calls, prints, and turns every ending into an exit status; what happens stands in the flows.

0 done · 2 setup or usage error · 3 waiting for approval · 4 the other side is unavailable · 6 done with rejected rows · 1 a
defect of ours. Prefect is loaded only by the commands that run a flow.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import duckdb
import orjson
import typer
from rich.console import Console

from flows import pages
from flows.blocks import read_block
from schemas.settings import Settings, SettingsError, read_settings
from schemas.shop import EMAIL_PATTERN
from tasks.addresses import to_address
from tasks.connector import SetupError, TryLater
from tasks.http import Patience
from tasks.run import Run, open_run, open_state

EMAIL = re.compile(EMAIL_PATTERN)
EACH = 3
"""How many people a plan names for each kind of change."""
DONE, DEFECT, SETUP, WAITING, LATER, REJECTED = 0, 1, 2, 3, 4, 6

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Keeps a webshop's customers and an e-mail service provider's contacts in step, and never mails a person who said no.",
)
out = Console()
err = Console(stderr=True)


def _use_config(path: Path | None) -> None:
    if path is not None:
        os.environ["SHOPSYNC_CONFIG"] = str(path)


Config = Annotated[
    Path | None,
    typer.Option("--config", help="Path of shopsync.toml (or set SHOPSYNC_CONFIG).", callback=_use_config, expose_value=True),
]
Connection = Annotated[str, typer.Argument(help="Name of the connection in shopsync.toml.")]
Approved = Annotated[
    str | None,
    typer.Option("--plan", metavar="HASH", help="Approve the plan of this hash, as `plan` and earlier runs name it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def _anywhere(config: Config = None) -> None:
    """Options that may stand before the command as well as behind it."""


@app.command()
def check(
    connection: Connection,
    accept_move: Annotated[
        str | None, typer.Option("--accept-move", metavar="SHOP", help="This shop has moved: remember its new address.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Look at credentials, permissions, traps and other integrations, without changing anything."""
    from flows.checks import check_connection
    from tasks import fingerprints

    run = _open(connection, "check", Patience(attempts=3, seconds=20))
    if accept_move:
        fingerprints.forget(run, accept_move)
    found = check_connection(run)
    _show(found, pages.findings, as_json)
    raise typer.Exit(SETUP if any(finding["level"] == "error" for finding in found) else DONE)


@app.command()
def plan(
    connection: Connection,
    full: Annotated[bool, typer.Option("--full", help="Read everything again, not only what changed.")] = False,
    policy: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Show instead who would be decided otherwise under this policy; nothing is read."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Dry run: read both sides, decide, and show what sync and reverse would send. Nothing is written to either side."""
    run = _open(connection, "plan")  # what the file says wrong is said before Prefect starts
    if policy is not None:
        from tasks.decide import decided_otherwise

        _show(decided_otherwise(run, policy), pages.otherwise, as_json)
        return
    from flows.forward import plan as plan_flow
    from tasks import plans

    def look() -> dict[str, Any]:
        result: dict[str, Any] = plan_flow(connection, full=full)
        with run.state.open() as database:  # people stand on the terminal, and nowhere in Prefect
            return result | {"sample": plans.sample(database, result["run_id"], EACH)}

    _run_flow(look, pages.planned, as_json)


@app.command()
def sync(
    connection: Connection,
    full: Annotated[bool, typer.Option("--full", help="Read everything again; nothing is triggered at the ESP.")] = False,
    approved: Approved = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send what the shops know to the ESP, after hearing what people said there."""
    _open(connection, "sync")  # what the file says wrong is said before Prefect starts
    from flows.forward import forward

    _run_flow(lambda: forward(connection, full=full, plan=approved), pages.done, as_json)


@app.command()
def reverse(connection: Connection, approved: Approved = None, as_json: AsJson = False, config: Config = None) -> None:
    """Tell the shops about unsubscribes, hard bounces and complaints at the ESP."""
    _open(connection, "reverse")  # what the file says wrong is said before Prefect starts
    from flows.reverse import reverse as reverse_flow

    _run_flow(lambda: reverse_flow(connection, plan=approved), pages.done, as_json)


@app.command()
def explain(
    connection: Connection,
    email: Annotated[str, typer.Argument(help="The person's e-mail address, however it is spelled.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Tell one person's whole story: events, decisions with their rule, writes; newest last."""
    from flows.stories import erasure, story

    snapshot, state = _snapshot(connection), open_state(_settings(), connection)
    stone = erasure(snapshot, state, email)
    if stone and not stone["reopened_at"]:
        _show({"erased": stone}, pages.erased, as_json)
        return
    told = story(snapshot, email)
    if not any(told[part] for part in told if part != "address"):
        raise SetupError(f"connection {connection} knows nobody of this address; look at the spelling, or run a sync first.")
    _show(told | {"erased": stone}, pages.story, as_json)


@app.command()
def erase(
    connection: Connection,
    email: Annotated[str, typer.Argument(help="The person's e-mail address, however it is spelled.")],
    *,
    at_esp: Annotated[
        str | None,
        typer.Option("--at-esp", metavar="delete|archive|keep", help="What becomes of the contact; delete is for good."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Erase a person from everything here and at the ESP; a keyed hash stays, so that they are not mailed again."""
    from tasks import privacy

    run = _open(connection, "erase")
    if at_esp not in (None, *privacy.AT_ESP):
        raise SetupError(f"--at-esp is one of {', '.join(privacy.AT_ESP)}.")
    if not EMAIL.match(to_address(email)):
        raise SetupError(f"{email!r} is no e-mail address.")
    how = privacy.how_at_esp(run, at_esp)
    if not yes:
        found = privacy.foresee(run, email)
        _show(found, lambda console, result: pages.would_erase(console, result, how), as_json)
        if as_json or not sys.stdin.isatty():
            err.print("Nothing was erased: run this again with --yes.", highlight=False)
            raise typer.Exit(WAITING)
        typer.confirm("Erase?", abort=True)
    from flows.erase import erase as erase_person

    told = erase_person(connection, email, how)
    _show(told, pages.has_erased, as_json)
    if told["found"]:
        raise SetupError(
            f"something of this person is still there, in {len(told['found'])} places named above: remove what is not "
            "shopsync's, then run this again."
        )


@app.command()
def requests(
    connection: Connection,
    answered: Annotated[
        int | None, typer.Option("--answered", metavar="NUMBER", help="This request has been done, by you or by hand.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List what people asked for through their shop, a copy or to be erased, and until when it must be done."""
    from tasks import privacy

    state = open_state(_settings(), connection)
    if answered is not None:
        privacy.answered(state, answered)
    _show(privacy.waiting(state), pages.requests, as_json)


@app.command()
def rejected(
    connection: Connection,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try them again, for example after a change of shopsync.toml.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List rows that were set aside, and writes that the other side refused, with what to do about each."""
    if retry:
        from tasks.rejected import retry as try_again

        _show(try_again(_open(connection, "retry")), pages.retried, as_json)
        return
    snapshot = _snapshot(connection)
    _show(pages.rejected_rows(snapshot), pages.rejected, as_json)


@app.command()
def verify(
    connection: Connection,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="A restored backup, or a lost file of heads, is meant: go on from the chain as it stands."
        ),
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Prove that no consent event was changed, removed or slipped in, or name the first broken link of their chain."""
    from tasks import chain

    state = open_state(_settings(), connection)
    if not state.file.exists():
        raise SetupError(f"connection {connection} has no state yet: run `shopsync sync {connection}` first.")
    proof = chain.verify(state, accept=accept)
    _show(proof, pages.proof, as_json)
    raise typer.Exit(DONE if proof["whole"] else SETUP)


@app.command()
def sql(
    connection: Connection,
    query: Annotated[str | None, typer.Argument(help="A query in DuckDB's SQL; without one, the relations are listed.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Query the published snapshot, read-only."""
    snapshot = _snapshot(connection)
    try:
        found = pages.query(snapshot, query)
    except duckdb.Error as error:
        raise SetupError(f"the query cannot be run: {str(error).splitlines()[0]}") from error
    _show(found, pages.table if query else lambda console, relations: pages.relations(console, relations, connection), as_json)


@app.command()
def platforms(as_json: AsJson = False) -> None:
    """What each shop and ESP can do, its limits, and what is not possible and why."""
    from flows.platforms import platforms as all_platforms

    _show(all_platforms(), pages.platforms, as_json)


@app.command()
def sandbox(
    folder: Annotated[Path, typer.Option(help="Where shopsync.toml for the sandbox is written.")] = Path("data/sandbox"),
    customers: Annotated[int, typer.Option(min=10, help="How many customers the invented shop has.")] = 3000,
    orders: Annotated[int, typer.Option(min=0, help="How many orders they placed.")] = 9000,
) -> None:
    """Run an invented shop and ESP on this machine, until Ctrl-C."""
    from sandbox.town import run_until_stopped

    run_until_stopped(folder, customers, orders, lambda text: out.print(text, highlight=False))


def _run_flow(call: Callable[[], dict[str, Any]], page: Callable[[Console, Any], None], as_json: bool) -> None:
    """Run a flow with progress on the terminal, print what it did, and exit by what became of its rows."""
    with pages.progress(err):
        result = call()
    _show(result, page, as_json)
    raise typer.Exit(WAITING if result["waiting"] else REJECTED if result["rejected"] else DONE)


def _show(result: Any, page: Callable[[Console, Any], None], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(orjson.dumps(result, default=str, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        page(out, result)


def _settings() -> Settings:
    return read_settings(Path(os.environ.get("SHOPSYNC_CONFIG", "shopsync.toml")))


def _open(connection: str, flow: str, patience: Patience | None = None) -> Run:
    return open_run(_settings(), connection, flow, environment=os.environ, read_block=read_block, patience=patience)


def _snapshot(connection: str) -> duckdb.DuckDBPyConnection:
    from tasks import tombstones
    from tasks.snapshot import open_snapshot

    state = open_state(_settings(), connection)
    try:
        snapshot = open_snapshot(state.folder)
    except FileNotFoundError:
        raise SetupError(f"connection {connection} has no snapshot yet: run `shopsync sync {connection}` first.") from None
    tombstones.check_snapshot(snapshot, state)
    return snapshot


def prepare_prefect() -> None:
    """Prefect's settings for a command that runs a flow by itself; whatever the environment says already stays."""
    for name, value in {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # its 20 s are too few on a busy machine
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal shows progress and one sentence instead
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_COLORS": "false",
    }.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """Every ending is a sentence and an exit status."""
    prepare_prefect()
    try:
        sys.exit(app(standalone_mode=False) or DONE)
    except typer.Abort:
        sys.exit(130)
    except (SetupError, SettingsError) as error:
        _say(error, SETUP)
    except TryLater as error:
        _say(error, LATER)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  # the last net: a defect of ours is a sentence, too
        _defect(error)


def _say(error: Exception, status: int) -> None:
    err.print(f"[bold red]shopsync:[/] {error!s}", highlight=False, soft_wrap=True)
    sys.exit(status)


def _defect(error: Exception) -> None:
    if hasattr(error, "show"):  # wrong usage: typer explains it
        error.show()
        sys.exit(SETUP)
    if os.environ.get("SHOPSYNC_DEBUG"):
        err.print_exception()
    err.print(
        f"[bold red]shopsync:[/] a defect of ours: {type(error).__name__}: {error}. Nothing was lost; run again with "
        "SHOPSYNC_DEBUG=1 and report what it prints.",
        highlight=False,
        soft_wrap=True,
    )
    sys.exit(DEFECT)


if __name__ == "__main__":
    main()
