"""A Mailchimp account on this machine: `twin` is the whole, the other modules are its subjects."""

from sandbox.mailchimp.twin import KEY, LIST_ID, Mailchimp

__all__ = ["KEY", "LIST_ID", "Mailchimp"]
