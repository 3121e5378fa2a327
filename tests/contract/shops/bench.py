"""What the contract asks of a platform, so that its tests need not know which one it is.

A `Bench` is one shop of one platform on this machine: its twin, a connector to it, and what people, the merchant and misfortune
do there. Each platform has one in `benches/NAME.py`, in a class called `Bench`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import polars as pl
from pydantic import BaseModel, SecretStr

from sandbox.server import Fault, Running, Twin
from tasks.connector import Page, PrivacyRequest, Record, Shop, Write
from tasks.http import Patience
from tasks.shops import PLATFORMS

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""The twins' clock when a test begins: before any real run of these tests."""

PATIENT = Patience(attempts=3, seconds=10, first_wait=0.01)
IMPATIENT = Patience(attempts=3, seconds=0.2, first_wait=0.01)

Answer = Literal["in", "out"]
FaultKind = Literal["drop_before", "drop_after", "truncate"]
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """What somebody buys: one product, tax included in its price."""

    product: str
    quantity: int = 1
    customer_id: str | None = None
    email: str | None = None
    answer: Answer | None = None
    code: str | None = None


class Bench(ABC):
    """One shop, freshly opened and empty, behind a server that outlives it."""

    platform: ClassVar[str]
    page_size: ClassVar[int]
    """So many accounts and orders fit on a page; tests fill more than two."""
    made_of: ClassVar[tuple[Callable[..., Shop], type[BaseModel]] | None] = None
    """Connector and settings, where the registry does not have them."""
    tells_levels: ClassVar[bool] = False
    """The platform says whether an address confirmed its opt-in."""
    shares_secret: ClassVar[bool] = False
    """One secret signs the webhooks of several shops."""
    currency: ClassVar[str] = "EUR"

    def __init__(self, running: Running, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.twin = self.open()
        running.door.twin = self.twin
        running.door.calls.clear()
        running.door.faults.clear()
        running.door.after = None
        self.shop = self.connect()

    def connect(self, patience: Patience = PATIENT, **changes: Any) -> Shop:
        """A connector; `changes` are settings."""
        make, model = self.made_of or PLATFORMS[self.platform]
        self.settings = model(**self.keys() | changes)
        return make(self.settings, shop="de", limits=self.folder / "limits", patience=patience)

    def secrets(self) -> set[str]:
        found = (getattr(self.settings, name) for name in type(self.settings).model_fields)
        return {value.get_secret_value() for value in found if isinstance(value, SecretStr)}

    # The shop

    @classmethod
    @abstractmethod
    def open(cls) -> Twin:
        """A twin without customers, whose clock stands at `NOW` until somebody waits."""

    @abstractmethod
    def keys(self) -> dict[str, Any]:
        """Settings that let a connector in."""

    @abstractmethod
    def wrong_keys(self) -> dict[str, Any]:
        """Settings that do not."""

    @abstractmethod
    def wait(self, seconds: float) -> None: ...

    @abstractmethod
    def call_itself(self, host: str) -> None:
        """From now on the shop believes in another address, as a copy of it does."""

    @abstractmethod
    def mails(self) -> int:
        """How many mails the shop has sent to its customers."""

    # People

    @abstractmethod
    def sign_up(self, email: str, answer: Answer | None = None, *, level: str | None = None, **names: str) -> str:
        """Somebody opens an account; `names` are first_name and last_name. Returns the customer id."""

    @abstractmethod
    def say(self, customer_id: str, answer: Answer) -> None:
        """Somebody ticks or unticks the newsletter."""

    def mumble(self, customer_id: str) -> bool:
        """The newsletter's field holds a word that nobody explained; False where the platform knows no such thing."""
        return False

    def say_by_sms(self, customer_id: str, phone: str, answer: Answer) -> None:
        raise NotImplementedError

    @abstractmethod
    def change_email(self, customer_id: str, email: str) -> None: ...

    @abstractmethod
    def rename(self, customer_id: str, first_name: str) -> None: ...

    @abstractmethod
    def delete(self, customer_id: str) -> None: ...

    @abstractmethod
    def order(self, order: Order) -> str:
        """Somebody buys and pays; a guest without `customer_id`. Returns the order id."""

    # The merchant

    @abstractmethod
    def product(self, title: str, price: str) -> str:
        """A product without variants; returns its id."""

    @abstractmethod
    def drop_product(self, product_id: str) -> None: ...

    @abstractmethod
    def refund(self, order_id: str, amount: str | None = None) -> None:
        """Pay back an amount, or everything."""

    @abstractmethod
    def drop_order(self, order_id: str) -> None:
        """An order is deleted for good."""

    def promo(self, code: str, percent: int, *, is_over: bool = False, only_for: str | None = None) -> None:
        """A code for everybody, or for one customer only."""
        raise NotImplementedError

    # What the shop holds, read past its API

    @abstractmethod
    def answer_of(self, customer_id: str) -> Answer | None: ...

    @abstractmethod
    def bounce_of(self, customer_id: str) -> str | None: ...

    def answer_in(self, order_id: str) -> Answer | None:
        """The newsletter tick of an order."""
        raise NotImplementedError

    # Misfortune

    @abstractmethod
    def malform_customer(self, customer_id: str) -> str:
        """Something no form would take gets into an account; returns the field of the schema that must complain."""

    @abstractmethod
    def malform_order(self, order_id: str) -> str: ...

    @abstractmethod
    def throttle(self, times: int) -> None:
        """The next calls (-1: all) are turned away for being too many, as this platform does it."""

    @abstractmethod
    def end_token(self) -> None:
        """What proves who we are ends by itself; nothing where keys do not end."""

    @abstractmethod
    def revoke(self) -> None:
        """The merchant takes our access away."""

    def faults(self, *faults: Fault) -> None:
        self.running.door.faults[:] = faults

    # Webhooks

    def other_secret(self) -> dict[str, Any]:
        """Settings under which the shop would sign with another secret."""
        raise NotImplementedError

    def deliver(self) -> None:
        """The shop sends what has happened to everybody who wants to hear of it."""
        raise NotImplementedError

    def webhooks(self) -> list[str]:
        """The addresses that the shop sends to, one for each topic."""
        raise NotImplementedError

    def foreign_webhook(self, address: str) -> None:
        """Another integration listens, too."""
        raise NotImplementedError

    def give_up_webhooks(self) -> None:
        """The shop loses its patience with whoever listens."""
        raise NotImplementedError

    def privacy_notices(self) -> list[tuple[str, bytes, PrivacyRequest | None]]:
        """What people ask for through the shop: topic, body, and what is meant."""
        return []

    # Shorthands of the tests

    def crowd(self) -> list[str]:
        """More accounts than fit on two pages, of whom every third said yes and every third no."""
        answers: list[Answer | None] = ["in", "out", None]
        return [self.sign_up(f"p{n}@example.com", answers[n % 3]) for n in range(2 * self.page_size + 10)]

    def sales(self) -> list[str]:
        """More orders than fit on two pages, of guests and of one customer."""
        product, buyer = self.product("Te Grön", "12.50"), self.sign_up("buyer@example.com")
        orders = []
        for number in range(2 * self.page_size + 10):
            self.wait(1)
            guest = Order(product, email=f"guest{number % 7}@example.com")
            orders.append(self.order(Order(product, customer_id=buyer) if number % 2 else guest))
        return orders

    def meanwhile(self, do: Callable[[int], Any], run: Callable[[], T]) -> Iterator[tuple[int, T]]:
        """Run something again and again, while something else happens after its first call, after its second, and so on."""
        for at in itertools.count():
            count, happened = itertools.count(), list[int]()

            def act(*_: object, at: int = at, count: Iterator[int] = count, happened: list[int] = happened) -> None:
                if next(count) == at:
                    happened.append(at)
                    with self.twin.lock:
                        do(at)

            self.running.door.after = act
            found = run()
            self.running.door.after = None
            if not happened:
                return
            yield at, found

    def failing(self, kind: FaultKind, run: Callable[[], T]) -> Iterator[tuple[int, T]]:
        """Run something again and again, while its first call fails in this way, its second, and so on."""
        for at in itertools.count():
            fault = Fault(kind, skip=at)
            self.faults(fault)
            found = run()
            self.faults()
            if fault.times:
                return
            yield at, found

    def customers(self, pages: Iterable[Page]) -> pl.DataFrame:
        return self.shop.to_customers(records(pages))

    def customer(self, customer_id: str) -> dict[str, Any]:
        """One account, as the connector reads it now."""
        return self.customers(self.shop.customers_by_id([customer_id])).row(0, named=True)

    def orders(self, pages: Iterable[Page]) -> pl.DataFrame:
        return self.shop.to_orders(records(pages))


def records(pages: Iterable[Page]) -> list[Record]:
    return [record for page in pages for record in page.records]


def consent(target: str, answer: Answer = "out", *, at: datetime = NOW, key: str = "customer_id") -> Write:
    status = {"in": "subscribed", "out": "unsubscribed"}[answer]
    return Write(f"consent {target}", target, {key: target, "status": status, "at": at.isoformat()})


def bounce(customer_id: str) -> Write:
    payload = {"customer_id": customer_id, "bounced_at": NOW.isoformat(), "reason": "mailbox unknown"}
    return Write(f"bounce {customer_id}", customer_id, payload)


def newcomer(email: str, status: str = "subscribed") -> Write:
    payload = {"email": email, "first_name": "Åsa", "last_name": "Öberg", "status": status, "at": NOW.isoformat()}
    return Write(f"customer {email}", email, payload)


def cents(amount: str) -> Decimal:
    return Decimal(amount).quantize(Decimal("0.0001"))


def cursor_of(pages: Sequence[Page]) -> str | None:
    """Where the next run goes on: the greatest cursor, as the state keeps it."""
    return max((page.cursor for page in pages if page.cursor), default=None)
