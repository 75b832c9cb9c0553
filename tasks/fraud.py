"""The work on a transaction: seven models judge it, each on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, create_model

from nodes.call import Call
from nodes.tally import Rules, relearned
from nodes.task import Task
from state.fraud import Amount, Channel, Count, Days, Distance, Hour, Merchant, Probability
from tasks.embedded import fraud_models

WEIGHTS: Final[Mapping[str, float]] = {
    "logistic": 1.89,
    "forest": 1.85,
    "boosting": 1.79,
    "isolation": 1.72,
    "bayes": 1.84,
    "neighbours": 1.85,
    "perceptron": 1.89,
}
"""Log-odds of each model's balanced accuracy on held-out data (`python benchmarks/fraud_accuracy.py`)."""

RULES: Final = Rules(threshold=0.41, quorum=4, least_weight=0.55, thin=0.1)
"""The threshold whose F1 is the best in the worst case of three models that are down, on held-out data. Any four models
of the seven have more than 0.55 of the weight; 0.6 would ask for five, because the weights are nearly equal."""


class Transaction(BaseModel):
    """What a model judges."""

    model_config = ConfigDict(hide_input_in_errors=True)

    amount: Amount
    usual_amount: Amount
    channel: Channel
    merchant: Merchant
    hour: Hour
    distance_km: Distance
    foreign: bool
    new_device: bool
    new_payee: bool
    account_days: Days
    last_hour: Count
    last_day: Count
    failed_day: Count


class Judgement(BaseModel):
    """What a remote model is asked for."""

    probability: Probability


PROMPT: Final = """You judge payment transactions. How probable is it that this one is fraud? Think of card testing
(small amounts in quick succession), account takeover (new device, high amount, odd hour), bust-out (young account, many
high amounts) and mules (high transfers to new people). About 4 of 100 are fraud. Amounts are in the account's currency.

"""


def prompt_of(given: Transaction) -> str:
    """Return the question to a remote model."""
    return PROMPT + "\n".join(f"{name}: {value}" for name, value in given.model_dump(mode="json").items())


def _member(name: str) -> Task[Any, Any]:
    output = create_model(f"{name.title()}Probability", **{name: (Probability, ...)})  # type: ignore[call-overload] # by name

    async def remote(given: Transaction, call: Call) -> dict[str, float]:
        return {name: (await call.model(prompt_of(given), Judgement, max_tokens=30)).value.probability}

    def local(given: Transaction, _call: Call) -> dict[str, float]:
        return {name: fraud_models.predict(name, given.model_dump())}

    return Task(
        name=name,
        input=Transaction,
        output=output,
        providers={"embedded": local, "openai": remote},
        prepare={"embedded": fraud_models.prepare},
        computes=frozenset({"embedded"}),
    )


TASKS: Final[dict[str, Task[Any, Any]]] = {name: _member(name) for name in fraud_models.NAMES}
"""The seven models; each can be a remote one: `RunContext(providers={"logistic": "openai:gpt-4.1"})`."""


def relearn(reviewed: Iterable[Mapping[str, Any]], weights: Mapping[str, float] = WEIGHTS) -> dict[str, float]:
    """Return weights learned anew from transactions that people decided: rows with `verdict` and the models' fields.

    A model was right when its probability lay on the side of the verdict. Pass them to later runs as
    `RunContext(thresholds={"weight_logistic": 1.7, ...})`.
    """
    right: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    for row in reviewed:
        if row.get("verdict") not in ("fraud", "clean"):
            continue
        for name in weights:
            if isinstance(p := row.get(name), int | float):
                cases[name] += 1
                right[name] += (p >= RULES.threshold) == (row["verdict"] == "fraud")
    return relearned(weights, {name: (right[name], cases[name]) for name in weights})


def evidence(values: Mapping[str, Any]) -> list[str]:
    """Say what speaks most for and against fraud in a transaction."""
    return fraud_models.evidence(values)
