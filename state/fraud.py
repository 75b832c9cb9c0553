"""State of the fraud pipeline: one card or account transaction."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from state.channels import Checked
from state.forms import form
from state.run import RunState

Channel = Literal["card_present", "online", "transfer", "atm"]
Merchant = Literal["groceries", "electronics", "travel", "gaming", "fuel", "fashion", "crypto", "services", "person"]
Verdict = Literal["fraud", "clean", "review"]

Amount = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=100_000)]
Hour = Annotated[int, Field(ge=0, le=23)]
Distance = Annotated[float, Field(ge=0, le=21_000, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class TransactionInput(BaseModel):
    """A transaction as it comes in; every field is required, because a guessed one would be judged like a fact."""

    model_config = form(
        "amount", "usual_amount", "channel", "merchant", "hour", "distance_km", "foreign", "new_device", "new_payee",
        "account_days", "last_hour", "last_day", "failed_day",
    )  # fmt: skip

    amount: Annotated[Amount | None, Checked] = None
    """In the currency of the account."""
    usual_amount: Annotated[Amount | None, Checked] = None
    """Median of the account's amounts over 90 days."""
    channel: Annotated[Channel | None, Checked] = None
    """How it was paid."""
    merchant: Annotated[Merchant | None, Checked] = None
    """What kind of merchant, or a person."""
    hour: Annotated[Hour | None, Checked] = None
    """Local hour of the account."""
    distance_km: Annotated[Distance | None, Checked] = None
    """From the last place that the account was used at."""
    foreign: Annotated[bool | None, Checked] = None
    """Whether the merchant is in another country than the account."""
    new_device: Annotated[bool | None, Checked] = None
    """Whether the account was never used from this device before."""
    new_payee: Annotated[bool | None, Checked] = None
    """Whether the account never paid this merchant or person before."""
    account_days: Annotated[Days | None, Checked] = None
    """Age of the account in days."""
    last_hour: Annotated[Count | None, Checked] = None
    """Transactions of the account in the hour before."""
    last_day: Annotated[Count | None, Checked] = None
    """Transactions of the account in the day before."""
    failed_day: Annotated[Count | None, Checked] = None
    """Refused attempts in the day before."""


class FraudState(RunState, TransactionInput):
    """A transaction on its way: what each model thinks, and what came of it."""

    logistic: Annotated[Probability | None, Checked] = None
    forest: Annotated[Probability | None, Checked] = None
    boosting: Annotated[Probability | None, Checked] = None
    isolation: Annotated[Probability | None, Checked] = None
    bayes: Annotated[Probability | None, Checked] = None
    neighbours: Annotated[Probability | None, Checked] = None
    perceptron: Annotated[Probability | None, Checked] = None
    score: Annotated[Probability | None, Checked] = None
    """Weighted mean of the models that answered, as a probability of fraud."""
    vote: Annotated[Literal["yes", "no", "unsure"] | None, Checked] = None
    margin: Annotated[float | None, Checked] = None
    """Distance of the score from the threshold."""
    verdict: Annotated[Verdict | None, Checked] = None
    """`review` until a person has looked at what the models do not decide."""
    evidence: Annotated[list[str], Checked] = Field(default_factory=list)
    """What speaks most for and against fraud, for the person."""
