"""The guarded model call: priced, admitted, bounded in time, settled once, parsed and classified."""

from nodes.call.asking import reset_contacts
from nodes.call.budget import CommandBudget, spending_cap
from nodes.call.call import Call, current_call, using_call
from nodes.call.classify import EndpointRefusal, classify_error
from nodes.call.current import get_guard, limits_of, set_guard, set_sealer, using_guard
from nodes.call.endpoint import chat_endpoint
from nodes.call.guard import Admission, Cap, CapReport, Guard, Request, Settlement
from nodes.call.limits import Limits
from nodes.call.memory_guard import MemoryGuard
from nodes.call.parking import parking_with
from nodes.call.prices import Price, TokenUsage, estimate_microusd, price
from nodes.call.reply import Reply, Usage
from nodes.call.settings import CallSettings, call_settings, prepare_settings, reset_call_settings

__all__ = [
    "Admission",
    "Call",
    "CallSettings",
    "Cap",
    "CapReport",
    "CommandBudget",
    "EndpointRefusal",
    "Guard",
    "Limits",
    "MemoryGuard",
    "Price",
    "Reply",
    "Request",
    "Settlement",
    "TokenUsage",
    "Usage",
    "call_settings",
    "chat_endpoint",
    "classify_error",
    "current_call",
    "estimate_microusd",
    "get_guard",
    "limits_of",
    "parking_with",
    "prepare_settings",
    "price",
    "reset_call_settings",
    "reset_contacts",
    "set_guard",
    "set_sealer",
    "spending_cap",
    "using_call",
    "using_guard",
]
