"""What a run works with: its connection, connectors, state and clock. Made once, passed to every step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from schemas.settings import Connection, Settings, SettingsError, problems, resolve_secrets
from tasks import esps, shops
from tasks.connector import Esp, Shop
from tasks.http import Patience
from tasks.merge import Choices, Store
from tasks.state import Database, State

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

Progress = Callable[[str, int, "int | None"], None]
"""Called with (step, done, of how many or None) as a step goes on."""


def no_progress(step: str, done: int, total: int | None) -> None:
    """For runs that nobody watches."""


@dataclass(frozen=True)
class Run:
    """One run of one flow on one connection. `started_at` is UTC; `by_hand` publishes the snapshot however fresh it is."""

    name: str
    connection: Connection
    state: State
    shops: Mapping[str, Shop]
    esp: Esp
    flow: str
    run_id: str
    started_at: datetime
    full: bool = False
    progress: Progress = field(default=no_progress, repr=False)

    def choices(self, loaded_at: datetime | None) -> Choices:
        chosen = self.connection
        sms_since = chosen.switches.sms_since if chosen.switches.sms else None
        return Choices(
            chosen.policy,
            chosen.groups,
            chosen.double_opt_in,
            chosen.tag_prefix,
            chosen.customers_since,
            loaded_at,
            sms_since,
            guards=chosen.guards.model_dump(exclude={"at_least"}),
            guarded_from=chosen.guards.at_least,
        )

    def stores(self) -> list[Store]:
        """Each shop with its store at the ESP; the id holds at most 50 characters, as Mailchimp wants it."""
        return [
            Store(shop, store_id(self.name, shop), connector.tag, connector.capabilities.guest_consent_write_back)
            for shop, connector in self.shops.items()
        ]

    def count(self, database: Database, stage: str, entity: str, measures: Mapping[str, int]) -> None:
        """Write down how many rows a stage saw; what a stage says again replaces what it said before."""
        for measure, number in measures.items():
            key = [self.run_id, stage, entity, measure]
            database.execute(
                "delete from ops.run_counts where run_id = $1 and stage = $2 and entity = $3 and measure = $4", key
            )
            database.execute("insert into ops.run_counts values ($1, $2, $3, $4, $5)", [*key, number])


def store_id(connection: str, shop: str) -> str:
    name = f"shopsync-{connection}-{shop}"
    return name if len(name) <= 50 else f"{name[:37]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def new_run_id(started_at: datetime) -> str:
    """Sortable by time, readable by people, different for two runs of one second."""
    return f"{started_at:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def open_run(
    settings: Settings,
    name: str,
    flow: str,
    *,
    environment: Mapping[str, str],
    read_block: Callable[[str], str],
    full: bool = False,
    progress: Progress = no_progress,
    patience: Patience | None = None,
) -> Run:
    """Make the connectors of a connection. Raises SettingsError with every problem in its platforms' settings."""
    connection = settings.connection(name)
    limits = settings.data_dir / "limits"
    found: list[str] = []

    def connector(kind: str, registry: Mapping[str, Any], raw: Mapping[str, Any], **options: Any) -> Any:
        where = f"connections.{name}.{kind}"
        if raw.get("platform") not in registry:
            found.append(f"{where}.platform: must be one of {', '.join(sorted(registry))}.")
            return None
        make, model = registry[raw["platform"]]
        try:
            resolved = resolve_secrets(raw, environment, read_block, where)
            checked = model.model_validate(resolved)
        except SettingsError as error:
            found.append(str(error))
            return None
        except ValidationError as error:
            found.extend(problems(error, f"{where}."))
            return None
        found.extend(secrets_in_clear(where, raw, model))
        return make(checked, limits=limits, patience=patience, **options)

    made = {shop: connector(f"shops.{shop}", shops.PLATFORMS, raw, shop=shop) for shop, raw in connection.shops.items()}
    esp = connector("esp", esps.PLATFORMS, connection.esp)
    if connection.switches.sms and esp and not esp.capabilities.sms_consent:
        found.append(
            f"connections.{name}.switches.sms: {type(esp).__name__} takes no consent to text messages from us; set sms = false."
        )
    if found:
        raise SettingsError("\n".join(found))
    started_at = datetime.now(UTC)
    return Run(
        name, connection, open_state(settings, name), made, esp, flow, new_run_id(started_at), started_at, full, progress
    )


def secrets_in_clear(where: str, raw: Mapping[str, Any], model: Any) -> list[str]:
    """A secret written in the file itself is only for servers on this machine (sandboxes)."""
    address = str(raw.get("base_url") or raw.get("url") or "")
    host = address.partition("://")[2].partition("/")[0].rpartition(":")[0] or address.partition("://")[2].partition("/")[0]
    if host in LOOPBACK:
        return []
    return [
        f'{where}.{key}: do not write a secret into the file; write {key} = {{ env = "NAME" }} and set that variable.'
        for key, spec in model.model_fields.items()
        if "SecretStr" in str(spec.annotation) and isinstance(raw.get(key), str)
    ]


def open_state(settings: Settings, name: str) -> State:
    """The state of a connection, for what needs neither its shops nor its ESP."""
    settings.connection(name)
    return State(settings.data_dir / name, settings.heads_dir / f"{name}.jsonl")
