"""What an ESP tells us: contacts as the connectors shape them (schema `esp`)."""

from __future__ import annotations

import pandera.polars as pa

from schemas.shop import BAD_EMAIL, E164, Instant
from schemas.words import Status, words


class Contacts(pa.DataFrameModel):
    """One row per contact of the audience, archived ones included.

    `status` is the ESP's word translated into ours; the times are what the ESP states, and no more than that.
    """

    contact_id: str = pa.Field(description="The ESP's id, as its API wants it.")
    email: str = pa.Field(description="As the ESP spells it.", metadata={"advice": BAD_EMAIL})
    address: str = pa.Field(description="The e-mail address as a key.", metadata={"advice": BAD_EMAIL})
    status: str = pa.Field(isin=words(Status), description="In our words; archived is `deleted`.")
    actor: str = pa.Field(nullable=True, description="Who opted out, where the ESP tells: self or merchant.")
    reason: str = pa.Field(nullable=True, description="Why somebody left, where the ESP tells.")
    opted_in_at: Instant = pa.Field(nullable=True, description="When the opt-in was given, as the ESP states it.")
    status_at: Instant = pa.Field(nullable=True, description="When the status last changed, where the ESP states exactly that.")
    changed_at: Instant = pa.Field(
        description="When anything about the contact last changed: no later than that is the status."
    )
    sms_address: str = pa.Field(
        nullable=True,
        str_matches=E164,
        description="The phone number for text messages, in E.164.",
        metadata={"keeps_row": True},
    )
    sms_status: str = pa.Field(
        nullable=True,
        isin=words(Status),
        description="Consent to text messages, in our words; null: the ESP does not tell.",
        metadata={"keeps_row": True},
    )
    sms_status_at: Instant = pa.Field(nullable=True, description="When that last changed, where the ESP states it.")
    fields: str = pa.Field(description="Profile fields by our names, as a JSON object.")
    tags: str = pa.Field(description="Tags as a sorted JSON list.")
