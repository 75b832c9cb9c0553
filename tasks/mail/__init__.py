"""What is new in a mail: the message without the quoted history, the signature and the markup around it."""

from tasks.mail.message import Message, read_mail

__all__ = ["Message", "read_mail"]
