"""HOW it is done: attempts, retries, gates, people. Factories that take a policy and add nodes to a graph."""

from nodes.batch import Batched
from nodes.call.wrap import guard
from nodes.decide import Again, Escalate, Fallback, GiveUp, decide
from nodes.gate import Check, add_gate
from nodes.graph import CheckedGraph, add_retired, compile_graph
from nodes.group import Ended, Member, add_group, missing_members
from nodes.handoff import HandoffGraph
from nodes.policy import Policy, exponential, fixed
from nodes.registry import Work, levels, schemas_of, work
from nodes.retry import add_retry
from nodes.review import add_review, validate_answer
from nodes.step import StepSpec, add_step
from nodes.tally import Rules, tally
from nodes.task import StepFunction, Task
from nodes.turn import begin_turn
from nodes.vote import add_vote

__all__ = [
    "Again",
    "Batched",
    "Check",
    "CheckedGraph",
    "Ended",
    "Escalate",
    "Fallback",
    "GiveUp",
    "HandoffGraph",
    "Member",
    "Policy",
    "Rules",
    "StepFunction",
    "StepSpec",
    "Task",
    "Work",
    "add_gate",
    "add_group",
    "add_retired",
    "add_retry",
    "add_review",
    "add_step",
    "add_vote",
    "begin_turn",
    "compile_graph",
    "decide",
    "exponential",
    "fixed",
    "guard",
    "levels",
    "missing_members",
    "schemas_of",
    "tally",
    "validate_answer",
    "work",
]
