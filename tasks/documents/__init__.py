"""Documents as text: PDF, DOCX and plain text, read in processes of their own because documents come from strangers."""

from tasks.documents.kinds import Document, DocumentError, Limits
from tasks.documents.workers import read_document

__all__ = ["Document", "DocumentError", "Limits", "read_document"]
