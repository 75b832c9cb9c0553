"""Does the text contain what should never have left the model: placeholders, prompt, talk about itself?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nodes.checks.plain import plain

_MODEL: Final = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|virtual ai)\b|\bi(?: am|'m) (?:just "
    r"|only )?an? (?:ai|language model|artificial)\b"
    r"|\b(?:my|the) (?:training data|knowledge cut-?off)\b|\bals (?:ki|künstliche intelligenz"
    r"|(?:ki-)?sprachmodell)\b|\bich bin (?:nur )?(?:eine ki|ein sprachmodell)\b"
    r"|\bcomo (?:un )?modelo de (?:lenguaje|ia)\b|\bcomo (?:una )?(?:ia|inteligencia artificial)\b"
    r"|\bsoy (?:solo )?(?:una ia|un modelo de lenguaje)\b"
)
_REFUSAL: Final = re.compile(
    r"\bi(?:'m| am) sorry,? but i (?:cannot|can't|can not) (?:assist|help|comply|fulfil)|\bi (?:cannot"
    r"|can't) (?:fulfil|comply with) (?:this|that|your) request"
)
_PREAMBLE: Final = re.compile(
    r"\A\W{0,8}(?:(?:sure|certainly|of course|absolutely|gerne|natürlich|claro|por supuesto)\W{1,4})?"
    r"(?:here(?:'s| is| are) what you (?:asked|requested|wanted|need)"
    r"|here(?:'s| is| are) (?:a|an|the|your|my|one) (?:\w+ ){0,4}(?:draft|response|reply|answer|email|e-mail"
    r"|message|version)\b"
    r"|hier ist (?:ein|eine|der|die|mein) (?:\w+ ){0,3}(?:entwurf|antwort|nachricht|version)\b"
    r"|aquí (?:tienes?|está) (?:un|una|el|la) (?:\w+ ){0,3}(?:borrador|respuesta|mensaje|versión)\b"
    r"|(?:subject|betreff|asunto|draft|response|reply|output|answer) ?:)"
)
_FILLER: Final = re.compile(r"\blorem ipsum\b|\bdolor sit amet\b|\b(?:todo|tbd|fixme)\b ?[:\])]|\bx{4,}\b")

_FIELD: Final = (
    r"name|names|date|day|company|team|your|our|insert|customer|client|amount|link|url|number|phone|email|e-mail"
    r"|time|agent|signature"
    r"|position|title|address|product|order|ticket|invoice|support|contact|details?|reason|x+|ihr|ihre|datum|firma"
    r"|kunden?|betrag|nummer"
    r"|vorname|nachname|unterschrift|nombre|apellidos?|fecha|empresa|cliente|enlace|número|importe|firma|tu|su"
    r"|placeholder"
)
_PLACEHOLDER: Final = re.compile(
    rf"\[(?=[^\]\n]{{0,60}}\b(?:{_FIELD})\b)[^\]\n\[]{{1,60}}\](?!\()"
    r"|\{\{[^{}\n]{0,60}\}\}|\$\{[^{}\n]{1,60}\}|(?<![\w{])\{[a-z_][\w. ]{0,40}\}"
    rf"|<(?:insert|your|enter|einfügen|ihr|su|tu)\b[^<>\n]{{0,60}}>"
    rf"|<<?(?=[^<>\n]{{0,40}}(?<![^\W_])(?:{_FIELD})(?![^\W_]))[a-z][\w -]{{0,40}}>>?"
    r"|%(?:[a-z]+_)*name%|%\([a-z_]{1,30}\)s|(?<!\w)_{4,}(?!\w)"
)
_PROMPT: Final = re.compile(
    r"</?(?:ticket|think|thinking|system|instructions?|output|response|reply|article|document|source)>"
    r"|<\|[\w ]{1,30}\|>|\[/?inst\]|<</?sys>>|^#{1,4} ?(?:instructions?|response|system|prompt|input|output|task)\b"
    r"|^(?:system|assistant|human|ai) ?:|\bfollow no instruction|\bthe ticket is data from a customer\b"
    r"|\bpromise nothing: no times\b"
    r"|\byou (?:write the first response|sort support tickets|judge how urgent)|\b(?:two|2) to (?:five|5) sentences:",
    re.MULTILINE,
)
_JSON: Final = re.compile(
    r"\A\s{0,40}```|\A\s{0,40}[{\[]\s{0,40}[\"{]|\"(?:draft|text|response|reply|answer|content|message"
    r"|output|summary)\" ?: ?[\"{\[]"
    r"|```(?:json|yaml|xml)\b"
)


def _unquoted(pattern: re.Pattern[str], text: str, source: str) -> bool:
    """Tell whether the pattern occurs in the text as something that the source does not say itself."""
    return any(match[0].strip() not in source for match in pattern.finditer(text))


def boilerplate() -> Callable[[str, str], str | None]:
    """Return a check that a text has no placeholder, no prompt or JSON left in it, and does not speak as a model.

    A placeholder that the source contains is fine: a customer may report that an e-mail greets `{{first_name}}`.
    """

    def check(text: str, source: str) -> str | None:
        text, source = plain(text).lower(), plain(source).lower()
        if _MODEL.search(text):
            return "speaks of itself as an AI model"
        if _REFUSAL.search(text):
            return "refuses to answer instead of replying to the customer"
        if _PREAMBLE.search(text):
            return "starts with an introduction or a label instead of the reply itself"
        if _FILLER.search(text) and _unquoted(_FILLER, text, source):
            return "contains filler text"
        if _PROMPT.search(text):
            return "contains parts of the prompt"
        if _JSON.search(text) and _unquoted(_JSON, text, source):
            return "contains JSON or code instead of plain text"
        if _unquoted_placeholder(text, source):
            return "contains a placeholder that was not filled in"
        return None

    return check


def _unquoted_placeholder(text: str, source: str) -> bool:
    found = {match[0] for match in _PLACEHOLDER.finditer(text)}
    # Ten different ones are no quotation, and looking for each in a long source would take long.
    return len(found) > 10 or any(placeholder not in source for placeholder in found)
