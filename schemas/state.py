"""The tables of a connection's state: this file is their dictionary, and `tasks.state` creates them from it.

No primary keys, unique indexes or sequences, so that the same SQL can write to a DuckLake catalogue.
"""

from __future__ import annotations

import pandera.polars as pa

from schemas.esp import Contacts
from schemas.shop import Customers, Instant, OrderLines, Orders, Products, PromoCodes


class _Seen(pa.DataFrameModel):
    record_hash: str = pa.Field(description="Hash over the shaped record, to tell changed from unchanged.")
    seen_at: Instant = pa.Field(description="When we asked for the answer that last held this value, or wrote it ourselves.")
    first_seen_at: Instant = pa.Field(description="When we first saw this record.")
    run_id: str = pa.Field(description="The run that last changed the row.")


class _Listed(_Seen):
    missing_since: Instant = pa.Field(nullable=True, description="First complete listing without it; null while it is listed.")
    deleted_at: Instant = pa.Field(nullable=True, description="When we concluded that it is gone (behaviour 12.8).")


class StoredCustomers(Customers, _Listed):
    """One row per shop and customer account ever seen."""


class StoredOrders(Orders, _Seen):
    """One row per shop and order ever seen."""

    told_hash: str = pa.Field(
        nullable=True, description="Hash over what the ESP is told of it, its lines included; null: it has none."
    )


class StoredOrderLines(OrderLines):
    """One row per order line of the order as last seen."""


class StoredProducts(Products, _Seen):
    """One row per shop and product variant ever seen."""


class StoredPromoCodes(PromoCodes, _Listed):
    """One row per shop and discount code ever seen."""


class StoredContacts(Contacts, _Listed):
    """One row per address that the audience has ever held."""

    written_at: Instant = pa.Field(nullable=True, description="When we last wrote its status or created it.")
    removed_by_us: bool = pa.Field(description="We archived it because the shops had deleted the person.")


class Events(pa.DataFrameModel):
    """Consent events, append only: something that happened to consent, where, by whom and when. One row per event."""

    event_id: str = pa.Field(description="Hash over what happened: the same event seen twice has the same id.")
    address: str = pa.Field(description="The address it is about.")
    channel: str = pa.Field(description="email or sms.")
    side: str = pa.Field(description="shop or esp.")
    source: str = pa.Field(description="Which shop, or `esp`.")
    record: str = pa.Field(description="The record that said so: customer:12, order:99, contact:a@example.com.")
    kind: str = pa.Field(description="opted_in, opted_out, pending, bounced, complained, deleted, returned.")
    actor: str = pa.Field(description="self, merchant or system (us).")
    earliest_at: Instant = pa.Field(description="It happened no earlier than this.")
    latest_at: Instant = pa.Field(description="It happened no later than this; equal to earliest_at if the platform states it.")
    as_of_at: Instant = pa.Field(description="When the record held this value: orders the events of one record.")
    caused_by: str = pa.Field(nullable=True, description="Of our own writes and of carried events: the event handed on.")
    is_inferred: bool = pa.Field(description="Concluded from something missing or emptied.")
    evidence: str = pa.Field(nullable=True, description="Form, raw value, reason: a JSON object.")
    run_id: str = pa.Field(description="The run that saw it.")
    recorded_at: Instant = pa.Field(description="When we wrote it down; never used to decide.")


class Commitments(pa.DataFrameModel):
    """One row per event that a link of the chain closes over. Of an erased event it is all that is left."""

    link: int = pa.Field(description="The link that closed over it.")
    commitment: str = pa.Field(description="SHA-256 of salt and event.")
    event_id: str = pa.Field(nullable=True, description="The event; null: erased.")
    salt: str = pa.Field(nullable=True, description="Random; without it nobody can guess the event. Null: erased.")
    erased_in: int = pa.Field(nullable=True, description="The link that says that the event was erased.")


class Links(pa.DataFrameModel):
    """The chain that proves the consent events: one row per link, closed at the end of a run that saw any."""

    number: int = pa.Field(description="1 for the first link.")
    run_id: str = pa.Field(description="The run that closed it.")
    closed_at: Instant = pa.Field(description="When it was closed.")
    events: int = pa.Field(description="How many events came since the link before it.")
    erased: int = pa.Field(description="How many events were erased since then.")
    root: str = pa.Field(description="SHA-256 over the commitments of both.")
    previous_head: str = pa.Field(description="The head of the link before it; empty for the first.")
    head: str = pa.Field(description="SHA-256 over all of that: it stands for every event up to here.")


class Tombstones(pa.DataFrameModel):
    """What is left of erased people: one row per keyed hash of an address, a phone number or an account."""

    hash: str = pa.Field(
        description="HMAC-SHA256 with a secret that lies outside the state; without it nobody can guess whose."
    )
    key_id: str = pa.Field(description="Which secret it was made with.")
    erased_at: Instant = pa.Field(description="When the person was erased: nothing that they said before counts any more.")
    reopened_at: Instant = pa.Field(
        nullable=True, description="When they opted in again themselves: from then on they are known again. Null: suppressed."
    )


class Addresses(pa.DataFrameModel):
    """One row per address that a shop of the connection has ever known."""

    address: str = pa.Field(description="The e-mail address as a key.")
    first_known_at: Instant = pa.Field(description="When a shop first knew it.")


class Decisions(pa.DataFrameModel):
    """One row per decision: written when the facts or the outcome of an address and channel differ from its last row."""

    decision_id: str = pa.Field(description="Hash over run, address and channel.")
    run_id: str = pa.Field(description="The run that decided.")
    address: str = pa.Field(description="The e-mail address as a key.")
    channel: str = pa.Field(description="email or sms.")
    phase: str = pa.Field(description="first until one decision was acknowledged on both sides, then ongoing.")
    shop_status: str = pa.Field(description="What the events of all shops add up to.")
    shop_moved: bool = pa.Field(description="Another event decides than at the last acknowledged decision.")
    shop_carried: bool = pa.Field(description="An opt-out in the shops followed an account from another address.")
    esp_status: str = pa.Field(description="What the ESP's events add up to.")
    esp_moved: bool = pa.Field(description="Another event decides than at the last acknowledged decision.")
    time_order: str = pa.Field(description="shop_newer, esp_newer or unordered.")
    chosen: bool = pa.Field(description="In one of the merchant's groups, and not older than the start date.")
    suppression: str = pa.Field(nullable=True, description="bounced or complained: decided before any table.")
    set_esp: str = pa.Field(description="keep, subscribed, not_subscribed, unsubscribed, pending or archived.")
    set_shop: str = pa.Field(description="keep, subscribed, unsubscribed or bounced.")
    rule: str = pa.Field(description="Id of the rule in the policy's table.")
    sentence: str = pa.Field(description="Why, for humans.")
    exception: str = pa.Field(nullable=True, description="E1 or E3: mailed only by this exception that the policy names.")
    esp_write: str = pa.Field(nullable=True, description="create, status or archive; null: nothing to write.")
    shop_write: str = pa.Field(nullable=True, description="consent or bounce; null: nothing to write.")
    skipped: str = pa.Field(nullable=True, description="Why something decided is not written: not chosen, no account, ...")
    shop_event: str = pa.Field(nullable=True, description="The event that decides the shops' status.")
    esp_event: str = pa.Field(nullable=True, description="The event that decides the ESP's status.")
    shop_root: str = pa.Field(nullable=True, description="The event it goes back to when it is a copy of ours.")
    esp_root: str = pa.Field(nullable=True, description="The event it goes back to when it is a copy of ours.")
    decided_at: Instant = pa.Field(description="When it was decided.")
    esp_acknowledged_at: Instant = pa.Field(nullable=True, description="When the ESP had it; at once if nothing is written.")
    shop_acknowledged_at: Instant = pa.Field(nullable=True, description="When the shops had it; at once if nothing is written.")
    fingerprint: str = pa.Field(description="Hash over facts and outcome: a decision like the last one is not written down.")
    is_last: bool = pa.Field(description="No later decision about this address and channel.")


class Plans(pa.DataFrameModel):
    """One row per plan that waits for an approval, or was approved."""

    plan_id: str = pa.Field(description="Hash over its decisions: address, channel, from, to, rule.")
    run_id: str = pa.Field(description="The run that stored it.")
    flow: str = pa.Field(description="The flow that would carry it out: forward or reverse.")
    made_at: Instant = pa.Field(description="When it was stored.")
    approved_at: Instant = pa.Field(nullable=True, description="When somebody approved it; null: it waits.")


class PlanRows(pa.DataFrameModel):
    """One row per plan and decision that needs its approval."""

    plan_id: str = pa.Field(description="The plan.")
    decision_id: str = pa.Field(description="The decision; one that comes out otherwise is another, and not approved.")
    address: str = pa.Field(description="Whom it is about.")
    channel: str = pa.Field(description="email or sms.")
    status_before: str = pa.Field(description="The status on the side that would change.")
    status_after: str = pa.Field(description="What it would become.")
    rule: str = pa.Field(description="Id of the rule in the policy's table.")
    guard: str = pa.Field(description="Why it needs an approval: E1, E3, subscribe, unsubscribe_inferred or delete.")


class Touched(pa.DataFrameModel):
    """One row per address and flow of whom something changed since that flow last decided about them; may be there twice."""

    address: str = pa.Field(description="The e-mail address as a key.")
    flow: str = pa.Field(description="forward or reverse.")


class Writes(pa.DataFrameModel):
    """The ledger: one row per planned write, whatever became of it."""

    write_id: str = pa.Field(description="Hash over run, target, kind and key.")
    run_id: str = pa.Field(description="The run that planned it.")
    flow: str = pa.Field(description="forward (to the ESP) or reverse (to the shops).")
    target: str = pa.Field(description="esp, or the shop's name.")
    kind: str = pa.Field(description="What the connector's `send` calls it.")
    key: str = pa.Field(description="The entity at the target: an address, an order, a customer.")
    address: str = pa.Field(nullable=True, description="The person it is about; null for products.")
    decision_id: str = pa.Field(nullable=True, description="The decision it carries out.")
    caused_by: str = pa.Field(nullable=True, description="The consent event it hands on.")
    payload: str = pa.Field(nullable=True, description="In our words, as JSON. What is sent of orders is made then.")
    payload_hash: str = pa.Field(description="Equal hashes are the same write.")
    is_known: bool = pa.Field(description="An earlier write of this entity was acknowledged.")
    state: str = pa.Field(description="planned, sent, acknowledged, skipped or rejected.")
    code: str = pa.Field(nullable=True, description="The platform's word for a refusal.")
    message: str = pa.Field(nullable=True, description="The reason in a sentence.")
    planned_at: Instant = pa.Field(description="When it was planned.")
    sent_at: Instant = pa.Field(nullable=True, description="When it was handed to the network.")
    settled_at: Instant = pa.Field(nullable=True, description="When its outcome was known.")


class Held(pa.DataFrameModel):
    """One row per target, kind and key: the last write that was settled. Only a new hash is written again."""

    target: str = pa.Field(description="esp, or the shop's name.")
    kind: str = pa.Field(description="What the connector's `send` calls it.")
    key: str = pa.Field(description="The entity at the target.")
    address: str = pa.Field(nullable=True, description="The person it is about; null for products.")
    payload_hash: str = pa.Field(description="Hash of the last settled write.")
    state: str = pa.Field(description="acknowledged, skipped or rejected.")
    was_acknowledged: bool = pa.Field(description="Some write of this entity was acknowledged: the other side has it.")
    write_id: str = pa.Field(description="The write.")
    settled_at: Instant = pa.Field(description="When its outcome was known.")


class Runs(pa.DataFrameModel):
    """One row per run of a flow."""

    run_id: str = pa.Field(description="Id of the run, sortable by time.")
    flow: str = pa.Field(description="forward, reverse, plan or erase.")
    started_at: Instant = pa.Field(description="When it started.")
    ended_at: Instant = pa.Field(nullable=True, description="Null: still going, or killed.")
    outcome: str = pa.Field(
        nullable=True, description="done, awaiting_approval, rejected_rows, try_later, setup_error or defect."
    )
    message: str = pa.Field(nullable=True, description="What to do about it, in one sentence.")
    policy: str = pa.Field(description="The policy it decided under.")


class RunCounts(pa.DataFrameModel):
    """One row per run, stage, entity and measure. What came in, what became of it."""

    run_id: str = pa.Field(description="The run.")
    stage: str = pa.Field(description="extract, merge or load.")
    entity: str = pa.Field(description="customers, orders, contacts, people, or a kind of write.")
    measure: str = pa.Field(description="extracted, changed, rejected, planned, skipped, waiting, awaiting_approval, ...")
    rows: int = pa.Field(description="How many.")


class Cursors(pa.DataFrameModel):
    """One row per source and stream: up to where everything is stored."""

    source: str = pa.Field(description="Which shop, or `esp`.")
    stream: str = pa.Field(description="customers, orders or contacts.")
    cursor: str = pa.Field(nullable=True, description="Where to go on; only the connector can read it.")
    listed_at: Instant = pa.Field(nullable=True, description="When the last complete listing was asked for.")
    moved_at: Instant = pa.Field(description="When the cursor last moved.")


class PrivacyRequests(pa.DataFrameModel):
    """One row per request: what somebody wants to see or have erased, and whether it was done."""

    source: str = pa.Field(description="Which shop; `command`: it was typed in here.")
    kind: str = pa.Field(description="export or erase.")
    customer_id: str = pa.Field(nullable=True, description="The shop's id of the account; `erased`: the person is.")
    address: str = pa.Field(nullable=True, description="Whom it is about; null with no customer_id: everybody of the shop.")
    at_esp: str = pa.Field(nullable=True, description="delete, archive or keep the contact; null: delete, where the ESP can.")
    delivery: int = pa.Field(description="Number of the webhook in the inbox; 0: none.")
    received_at: Instant = pa.Field(description="When it came.")
    due_at: Instant = pa.Field(description="Until when it must be done: 30 days.")
    done_at: Instant = pa.Field(nullable=True, description="Null: it waits.")


class RejectedRows(pa.DataFrameModel):
    """One row per record and failed check: kept whole until it is corrected."""

    source: str = pa.Field(description="Which shop, or `esp`.")
    entity: str = pa.Field(description="customers, orders, order_lines, products or contacts.")
    record_id: str = pa.Field(description="The record's id at its source, where it has one.")
    field: str = pa.Field(description="The column that failed.")
    check_name: str = pa.Field(description="The check it failed.")
    advice: str = pa.Field(description="What to do about it.")
    record: str = pa.Field(description="The raw record, whole, as JSON.")
    record_hash: str = pa.Field(description="Hash of the raw record, to tell whether it changed.")
    run_id: str = pa.Field(description="The run that rejected it last.")
    rejected_at: Instant = pa.Field(description="When it was rejected last.")


class Facts(pa.DataFrameModel):
    """One row per name: what the state knows about itself (schema version, fingerprint of each shop)."""

    name: str = pa.Field(description="schema_version, fingerprint:<shop>, published_at, ...")
    value: str = pa.Field(description="Its value.")


TABLES: dict[str, type[pa.DataFrameModel]] = {
    "shop.customers": StoredCustomers,
    "shop.orders": StoredOrders,
    "shop.order_lines": StoredOrderLines,
    "shop.products": StoredProducts,
    "shop.promo_codes": StoredPromoCodes,
    "esp.contacts": StoredContacts,
    "consent.events": Events,
    "consent.commitments": Commitments,
    "consent.chain": Links,
    "consent.tombstones": Tombstones,
    "merge.addresses": Addresses,
    "merge.decisions": Decisions,
    "merge.plans": Plans,
    "merge.plan_rows": PlanRows,
    "merge.touched": Touched,
    "load.writes": Writes,
    "load.held": Held,
    "ops.runs": Runs,
    "ops.run_counts": RunCounts,
    "ops.cursors": Cursors,
    "ops.privacy_requests": PrivacyRequests,
    "ops.rejected_rows": RejectedRows,
    "ops.facts": Facts,
}
