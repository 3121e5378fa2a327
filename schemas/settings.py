"""`shopsync.toml`: what a merchant or an engineer writes down. One frozen object; every problem is reported at once.

What a platform needs (keys, addresses) is checked by its connector; here stands what is the same for all of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.words import Group

Share = Annotated[float, Field(ge=0, le=1)]


class SettingsError(Exception):
    """The file cannot be used. The message names every problem, one a line, and holds no secret."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Guards(_Frozen):
    """Shares of the people whom a side knows; a kind of transition that exceeds its share waits for approval, unless it
    concerns fewer people than `at_least`."""

    subscribe: Share = 0.005
    unsubscribe_inferred: Share = 0.02
    delete: Share = 0.02
    at_least: Annotated[int, Field(ge=1)] = 5


class Switches(_Frozen):
    """What is off or on by choice. `sms_since`: only consent to text messages given since then is sent (behaviour 9.1)."""

    sms: bool = False
    sms_since: date | None = None
    events_to_esp: bool = True
    events_to_shop: bool = False
    create_customers: bool = False
    whole_catalogue: bool = False
    promo_codes: bool = False

    @model_validator(mode="after")
    def _sms_has_a_start(self) -> Switches:
        if self.sms and self.sms_since is None:
            raise ValueError("sms needs sms_since, the date from which consent to text messages is sent")
        return self


class Connection(_Frozen):
    """One ESP audience and the shops that feed it, under one policy."""

    policy: str = "consent-first"
    groups: tuple[Group, ...] = ("subscriber", "buyer", "contact")
    double_opt_in: Literal["shop", "esp"] = "shop"
    customers_since: date | None = None
    tag_prefix: str = ""
    customers_every_minutes: Annotated[float, Field(ge=0)] = 60
    deletions_every_hours: Annotated[float, Field(ge=0)] = 24
    publish_every_minutes: Annotated[float, Field(ge=0)] = 0
    guards: Guards = Guards()
    switches: Switches = Switches()
    shops: dict[str, dict[str, Any]]
    esp: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _one_shop_is_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "shop" in data:
            if "shops" in data:
                raise ValueError("give either one [shop] or several [shops.NAME], not both")
            data = {key: value for key, value in data.items() if key != "shop"} | {"shops": {"shop": data["shop"]}}
        return data

    @model_validator(mode="after")
    def _names(self) -> Connection:
        for name in self.shops:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"the shop name {name!r} may hold letters, digits, - and _ only")
            if name == "esp":
                raise ValueError("a shop cannot be named 'esp'")
        if not self.shops:
            raise ValueError("a connection needs a shop: add [connections.NAME.shop]")
        return self


class Settings(_Frozen):
    """The whole file. `data_dir` is where state, inbox and snapshots live, relative to the file; private to the user.

    `heads_dir` is where the heads of the chains are noted, best where nobody can write who can write to `data_dir`.
    """

    data_dir: Path
    heads_dir: Path
    connections: dict[str, Connection]

    def connection(self, name: str) -> Connection:
        if name not in self.connections:
            known = ", ".join(sorted(self.connections)) or "none yet"
            raise SettingsError(f"there is no connection {name!r} in shopsync.toml; there is: {known}.")
        return self.connections[name]


def read_settings(path: Path) -> Settings:
    """Read and check the file. Raises SettingsError with every problem in it."""
    if not path.is_file():
        raise SettingsError(f"there is no {path}: write one (docs/configuration.md shows how), or name it with --config.")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path.name} is not valid TOML: {error}.") from error
    general = raw.get("settings", {})
    unknown = sorted(set(raw) - {"settings", "connections"}) + sorted(set(general) - {"data_dir", "heads_dir"})
    if unknown:
        raise SettingsError(
            f"{path.name}: unknown: {', '.join(unknown)}; it holds [settings] data_dir, heads_dir and [connections.NAME]."
        )
    data_dir = path.parent / general.get("data_dir", "data/state")
    heads_dir = path.parent / general.get("heads_dir", data_dir / "heads")
    try:
        return Settings(data_dir=data_dir.resolve(), heads_dir=heads_dir.resolve(), connections=raw.get("connections", {}))
    except ValidationError as error:
        raise SettingsError("\n".join(problems(error, f"{path.name}: "))) from None


def problems(error: ValidationError, prefix: str) -> list[str]:
    """Every problem as a sentence, without the values: some of them are secrets."""
    return [f"{prefix}{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}." for p in error.errors()]


def resolve_secrets(raw: Mapping[str, Any], environment: Mapping[str, str], read_block: Any, where: str) -> dict[str, Any]:
    """Replace { env = "NAME" } and { secret = "NAME" } by what they stand for.

    `read_block` reads a secret block by name. Raises SettingsError when a variable is not set.
    """
    resolved: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, dict) and set(value) == {"env"}:
            if value["env"] not in environment:
                raise SettingsError(f"{where}.{key}: set the environment variable {value['env']}.")
            resolved[key] = environment[value["env"]]
        elif isinstance(value, dict) and set(value) == {"secret"}:
            resolved[key] = read_block(value["secret"])
        else:
            resolved[key] = value
    return resolved
