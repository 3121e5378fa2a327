"""Secrets in Prefect's blocks. Prefect is loaded only when a connection uses one."""

from __future__ import annotations

from schemas.settings import SettingsError


def read_block(name: str) -> str:
    """The value of a Prefect secret block. Raises SettingsError when there is none."""
    from prefect.blocks.system import Secret  # only connections that use blocks need Prefect here

    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError as error:
        raise SettingsError(f"there is no Prefect secret block {name!r}: create it in Prefect's UI under Blocks.") from error
    return str(block.get())  # type: ignore[union-attr]
