"""What a text tells of the person behind it, taken out before a model or a reviewer sees it."""

from tasks.privacy.remove import Anonymous, remove_identity

__all__ = ["Anonymous", "remove_identity"]
