"""Mailchimp: `connector` talks and writes, `walk` reads the audience, `words` translates, `store` sells, `batches` are bulk."""

from tasks.esps.mailchimp.connector import Mailchimp, MailchimpSettings

__all__ = ["Mailchimp", "MailchimpSettings"]
