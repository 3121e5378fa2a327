"""The switches of the Mailchimp twin, and the books that all its parts write to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.server import utc_now


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Where the sources are silent or disagree, a switch; its default is the reading that is harder on a client."""

    automations: bool = True
    """The merchant has a welcome journey, order notifications and abandoned-cart mails switched on."""
    tag_journeys: bool = False
    """The merchant has a journey that starts when a tag is added to a subscribed contact."""
    put_orders: bool = False
    """PUT of orders and products exists (added in 2026; older accounts answer 405)."""
    opt_in_status_subscribes_existing: bool = True
    """`opt_in_status: true` of an e-commerce customer subscribes a known contact: the guide says so, the description not."""
    double_optin_applies_to_api: bool = True
    """In an audience with double opt-in, a new contact written as `subscribed` becomes `pending` [issue MailChimp.Net#263]."""
    archive_keeps_compliance: bool = False
    """A self-unsubscribed contact stays protected after being archived. Reports say it does not [issue jethro-pmm#708]."""
    every_unsubscribe_is_final: bool = False
    """The API cannot lift an unsubscribe that the API or the merchant made. One report says so, others re-subscribed
    [issues pmpro-mailchimp#152, uk.co.vedaconsulting.mailchimp#374, laravel-newsletter#172]."""
    cleaned_may_be_unsubscribed: bool = False
    """The API may set a cleaned contact to unsubscribed or transactional [unverified]; `pending` is always allowed."""
    cleaned_may_be_archived: bool = False
    """DELETE of a cleaned or pending contact works. Clients report 405 for bounced, pending and archived ones [code]."""
    post_restores_archived: bool = False
    """POST of an archived address restores it; else "Member Exists", as for any other [issue gibbon#239]."""
    address_change_refused: bool = False
    """The API refuses every change of an address, as it does now and then for contacts under review [memory]."""
    address_needs_state: bool = True
    """An address merge field needs a state too, not only street, city and zip [memory]."""
    refuse_fake_addresses: bool = False
    """Role addresses and reserved domains are refused as fake. The real platform does; our world lives in reserved domains."""
    order_needs_lines: bool = True
    """An order or cart without lines is refused [memory]."""
    unique_store_domain: bool = True
    """No two stores of one account may have the same domain [memory]."""
    sign_webhooks: bool = False
    """New webhooks are signed and show their secret once, at creation (2026)."""
    merge_field_limit: int = 30
    """Merge fields per audience [memory]."""
    merge_text_limit: int = 255
    """Length of a text merge value [memory]."""


@dataclass
class Books:
    """What lists, stores and batches share: the clock, the switches, and every mail that would have been sent."""

    rules: Rules
    clock: Callable[[], datetime] = utc_now
    mails: list[dict[str, Any]] = field(default_factory=list)
    serial: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    is_syncing: Callable[[str], bool] = lambda list_id: False
    """Does a store connected to this audience hold the automations back?"""

    def now(self) -> datetime:
        return self.clock().replace(microsecond=0)

    def mail(self, kind: str, email: str, list_id: str, **more: Any) -> None:
        self.mails.append({"kind": kind, "email": email, "list_id": list_id, "at": self.now().isoformat(), **more})
