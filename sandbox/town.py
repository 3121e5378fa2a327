"""The sandbox as a whole: an invented shop and an invented audience on this machine, and a shopsync.toml that connects them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox.mailchimp import Mailchimp
from sandbox.server import Running, serve, utc_now
from sandbox.woocommerce import WooCommerce
from sandbox.world import invent

CONFIG = """\
# Written by the sandbox: the keys are invented and work on this machine only.
[settings]
data_dir = "state"

[connections.demo]
policy = "consent-first"
customers_every_minutes = 0

[connections.demo.shop]
platform = "woocommerce"
url = "{shop}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "{audience}"
base_url = "{esp}/3.0"
"""


@contextlib.contextmanager
def town(folder: Path, customers: int, orders: int) -> Iterator[tuple[Running, Running]]:
    """Serve both twins with one invented world behind them, and write the configuration that connects them."""
    world = invent(customers=customers, orders=orders, now=utc_now())
    shop, esp = WooCommerce(), Mailchimp()
    shop.from_world(world)
    esp.load_contacts(esp.audience.id, [dataclasses.asdict(contact) for contact in world.contacts])
    with serve(shop) as shop_running, serve(esp) as esp_running:
        folder.mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(shop=shop_running.url, esp=esp_running.url, key=esp.key, audience=esp.audience.id)
        (folder / "shopsync.toml").write_text(text, encoding="utf-8")
        yield shop_running, esp_running


def run_until_stopped(folder: Path, customers: int, orders: int, say: Callable[[str], None]) -> None:
    """Run the town until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with town(folder, customers, orders) as (shop, esp):
        say(f"A WooCommerce shop at {shop.url} and a Mailchimp audience at {esp.url}/3.0, until Ctrl-C.")
        say(f"Now, in another terminal: shopsync sync demo --config {folder / 'shopsync.toml'}")
        stop.wait()


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="Run the sandbox's shop and ESP until stopped.")
    asked.add_argument("folder", type=Path)
    asked.add_argument("--customers", type=int, default=3000)
    asked.add_argument("--orders", type=int, default=9000)
    given = asked.parse_args()
    run_until_stopped(given.folder, given.customers, given.orders, lambda text: print(text, flush=True))  # noqa: T201  # its output
