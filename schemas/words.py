"""The vocabulary: every word that a column, a rule table or a connector may use. One word for one thing, everywhere."""

from __future__ import annotations

from typing import Final, Literal, get_args

Channel = Literal["email", "sms"]
Side = Literal["shop", "esp"]
Actor = Literal["self", "merchant", "system"]
"""Who did it: the person, the merchant (or an employee, an import, an API), or shopsync. Unknown counts as the person."""

EventKind = Literal["opted_in", "opted_out", "pending", "bounced", "complained", "deleted", "returned"]
"""What happened. `deleted` and `returned` are about being known at all; the others are about consent."""

Status = Literal["subscribed", "pending", "not_subscribed", "unsubscribed", "bounced", "complained", "absent", "deleted"]
"""What the events of one side add up to.

subscribed: opted in, may be mailed · pending: double opt-in not confirmed · not_subscribed: known, never opted in ·
unsubscribed: opted out · bounced: the ESP stopped mailing · complained: spam report · absent: unknown there ·
deleted: was there, is gone (archived counts as deleted).
"""

Consent = Literal["in", "out", "pending"]
"""What a shop's record says about consent now. Null: never ticked, which is neither yes nor no."""

OptInLevel = Literal["single", "confirmed"]
"""Whether the address itself confirmed the opt-in (double opt-in). Null: not known."""

OrderState = Literal[
    "draft", "pending", "paid", "partially_refunded", "refunded", "cancelled", "cancelled_unpaid", "failed", "trashed"
]
PURCHASE_STATES: Final = ("pending", "paid", "partially_refunded", "refunded", "cancelled")
"""The order states that make somebody a buyer (behaviour 7.1)."""

Group = Literal["subscriber", "buyer", "contact"]

DiscountKind = Literal["percentage", "fixed"]
DiscountTarget = Literal["per_item", "total", "shipping"]

WriteState = Literal["planned", "sent", "acknowledged", "skipped", "rejected"]
"""planned: decided · sent: handed to the network, answer not seen yet · acknowledged: the other side has it ·
skipped: the other side finally refuses and nobody has to do anything · rejected: somebody must correct something."""


def words(kind: object) -> list[str]:
    """The members of one of the vocabularies above, in their order."""
    return list(get_args(kind))
