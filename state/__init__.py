"""What is persisted: pydantic models, the channels that guard them, and pure reducers. Imports nothing of ours."""

from state.channels import Appended, Checked, Merged, Sticky, describe
from state.records import (
    Attempt,
    Decision,
    DecisionMade,
    Failure,
    Outcome,
    Provenance,
    Record,
    Spend,
    Verdict,
)
from state.redaction import Redacted, has_stray_credentials, hide_secrets, mask_url, redact, scrub
from state.review import ActionRequest, DecisionRecord, ReviewConfig, ReviewDecision, ReviewRequest
from state.run import RunContext, RunFields, RunState
from state.support import CATEGORIES, URGENCIES, Category, SupportInput, SupportState, Team, Urgency

__all__ = [
    "CATEGORIES",
    "URGENCIES",
    "ActionRequest",
    "Appended",
    "Attempt",
    "Category",
    "Checked",
    "Decision",
    "DecisionMade",
    "DecisionRecord",
    "Failure",
    "Merged",
    "Outcome",
    "Provenance",
    "Record",
    "Redacted",
    "ReviewConfig",
    "ReviewDecision",
    "ReviewRequest",
    "RunContext",
    "RunFields",
    "RunState",
    "Spend",
    "Sticky",
    "SupportInput",
    "SupportState",
    "Team",
    "Urgency",
    "Verdict",
    "describe",
    "has_stray_credentials",
    "hide_secrets",
    "mask_url",
    "redact",
    "scrub",
]
