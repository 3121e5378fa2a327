"""The ESP platforms that shopsync knows: one line each, its class and its settings."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from tasks.connector import Esp
from tasks.esps.mailchimp import Mailchimp, MailchimpSettings

PLATFORMS: dict[str, tuple[Callable[..., Esp], type[BaseModel]]] = {
    "mailchimp": (Mailchimp, MailchimpSettings),
}
