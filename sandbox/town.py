"""The sandbox as a whole: invented shops and audiences on this machine, and a shopsync.toml that connects them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from sandbox.mailchimp import Mailchimp
from sandbox.server import Running, Twin, serve, utc_now
from sandbox.shopify import Shopify
from sandbox.woocommerce import WooCommerce
from sandbox.world import World, invent

CONFIG = """\
# Written by the sandbox: the keys are invented and work on this machine only.
[settings]
data_dir = "state"

[connections.demo]                   # a WooCommerce shop and its newsletter
policy = "consent-first"
customers_every_minutes = 0

[connections.demo.shop]
platform = "woocommerce"
url = "{woocommerce}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "{audience}"
base_url = "{mailchimp}/3.0"

[connections.second]                 # a Shopify shop and its newsletter, in another Mailchimp account
[connections.second.shop]
platform = "shopify"
url = "lilla-butiken.myshopify.com"
base_url = "{shopify}"
access_token = "shpat_sandbox"

[connections.second.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "{audience}"
base_url = "{second_mailchimp}/3.0"

[connections.both]                   # one newsletter for the subscribers of both shops; Mailchimp takes a shop once an account
groups = ["subscriber"]

[connections.both.shops.woo]
platform = "woocommerce"
url = "{woocommerce}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.both.shops.lilla]
platform = "shopify"
url = "lilla-butiken.myshopify.com"
base_url = "{shopify}"
access_token = "shpat_sandbox"

[connections.both.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "{audience}"
base_url = "{shared_mailchimp}/3.0"
"""

SIDES = ("shop", "second_shop", "esp", "second_esp", "shared_esp")


@contextlib.contextmanager
def town(folder: Path, customers: int, orders: int) -> Iterator[dict[str, Running]]:
    """Serve all twins, and write the configuration that connects them. Gives them by the names of `SIDES`."""
    now = utc_now()
    world = invent(customers=customers, orders=orders, now=now)
    second_world = neighbours(invent(seed=2, customers=max(customers // 8, 10), orders=orders // 12, now=now), world)
    shop, second_shop = WooCommerce(), Shopify()
    esp, second_esp, shared_esp = Mailchimp(), Mailchimp(), Mailchimp(list_name="Both shops")
    shop.from_world(world)
    second_shop.from_world(second_world)
    for account, lived in ((esp, world), (second_esp, second_world)):
        account.load_contacts(account.audience.id, [dataclasses.asdict(contact) for contact in lived.contacts])
    twins: tuple[Twin, ...] = (shop, second_shop, esp, second_esp, shared_esp)
    with contextlib.ExitStack() as served:
        running = {side: served.enter_context(serve(twin)) for side, twin in zip(SIDES, twins, strict=True)}
        folder.mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(
            woocommerce=running["shop"].url,
            shopify=running["second_shop"].url,
            mailchimp=running["esp"].url,
            second_mailchimp=running["second_esp"].url,
            shared_mailchimp=running["shared_esp"].url,
            key=esp.key,
            audience=esp.audience.id,
        )
        (folder / "shopsync.toml").write_text(text, encoding="utf-8")
        yield running


def neighbours(second: World, first: World) -> World:
    """The second shop's world in which every tenth customer is one of the first shop's, and may say something else there."""
    shared = zip(
        second.accounts[::10], first.accounts[:: max(len(first.accounts) // len(second.accounts), 1) * 10], strict=False
    )
    moved = {account.key: replace(account, email=known.email) for account, known in shared if known.email}
    return replace(second, accounts=tuple(moved.get(account.key, account) for account in second.accounts))


def run_until_stopped(folder: Path, customers: int, orders: int, say: Callable[[str], None]) -> None:
    """Run the town until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with town(folder, customers, orders) as running:
        at = {side: one.url for side, one in running.items()}
        say(
            f"A WooCommerce shop at {at['shop']}, a Shopify shop at {at['second_shop']}, and Mailchimp audiences at "
            f"{at['esp']}/3.0, {at['second_esp']}/3.0 and {at['shared_esp']}/3.0, until Ctrl-C."
        )
        say(f"Now, in another terminal: shopsync sync demo --config {folder / 'shopsync.toml'}")
        stop.wait()


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="Run the sandbox's shops and ESPs until stopped.")
    asked.add_argument("folder", type=Path)
    asked.add_argument("--customers", type=int, default=3000)
    asked.add_argument("--orders", type=int, default=9000)
    given = asked.parse_args()
    run_until_stopped(given.folder, given.customers, given.orders, lambda text: print(text, flush=True))  # noqa: T201  # its output
