"""Secrets and personal data out of texts that are stored, logged or printed.

Texts are redacted where they enter a record (`Redacted`), where an exception leaves a node (`nodes.bridge`), and where
an error that nobody foresaw is printed. A text may pass several of these, and a record is validated each time that it
is read, so redacting a second time changes nothing: what stands for a secret is never taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator

ERROR_LIMIT: Final = 200
"""Most characters of an error text that are stored: enough to act on, too few to hold a document."""

SCAN_LIMIT: Final = 4096
"""Most characters of a text that are searched for secrets; what follows is dropped before it is looked at."""

HIDDEN: Final = "[redacted]"

_MARK: Final = r"\[(?:redacted|e-mail|number|street)\]"
_MARKS: Final = re.compile(_MARK)
_VALUE: Final = rf"(?:{_MARK}|[^\s'\",;)}}\]])+"
"""A value up to what ends one in JSON, Python, a query or a sentence; a mark within it does not end it."""

# Forms of keys as their makers document them: OpenAI, Anthropic, Stripe, Groq, Slack, GitHub, GitLab; Hugging Face,
# LangSmith, xAI, Perplexity, NVIDIA, Replicate, Databricks; AWS and Google.
_PATTERNS: Final = (
    (
        (
            rf"(?i)\bauthorization[\"']?\s{{0,4}}[:=]\s{{0,4}}[\"']?(?:(?:basic|bearer|token)\s{{1,4}})?"
            rf"(?P<secret>(?!(?:basic|bearer|token)\b){_VALUE})"
        ),
        HIDDEN,
    ),
    (r"(?i)\bbearer\s{1,4}(?P<secret>[\w.~+/=*-]{8,})", HIDDEN),
    # `api_key=x`, `"password": "x"`, `OPENAI_API_KEY: x`, `access_token='x'`, `API key provided: x`.
    (
        (
            r"(?i)(?:api[ _-]?key|token|passw(?:or)?d|secret|credentials?)(?: provided)?[\"']?\s{0,4}[=:]\s{0,4}"
            rf"(?P<secret>\"[^\"]*\"?|'[^']*'?|{_VALUE})"
        ),
        HIDDEN,
    ),
    (r"\b(?P<secret>(?:sk|pk|rk|gsk|xox[abprs]|gh[oprsu]|github_pat|glpat|key)[-_][\w\-*.]{6,})", HIDDEN),
    (r"\b(?P<secret>(?:hf|lsv2|xai|pplx|nvapi|r8|dapi)[-_]?[\w-]{16,})", HIDDEN),
    (r"\b(?P<secret>AKIA[A-Z0-9]{12,}|AIza[\w-]{30,})", HIDDEN),
    (r"\b(?P<secret>eyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?)", HIDDEN),
    (r"(?P<secret>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})", "[e-mail]"),
    (r"\b(?P<secret>[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b", "[number]"),
    (r"(?<!\w)(?P<secret>\+?\d(?:[ ()./-]{0,2}\d){8,18})(?!\w)", "[number]"),
)


def _replacing(mark: str) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        secret = match["secret"]
        if not re.search(r"\w", _MARKS.sub("", secret)):
            return match[0]
        start, end = match.span("secret")
        return match[0][: start - match.start()] + mark + match[0][end - match.start() :]

    return replace


_RULES: Final = tuple((re.compile(pattern), _replacing(mark)) for pattern, mark in _PATTERNS)

_PASSES: Final = 8
"""Times that a text is gone over, because what was replaced may leave what looks like a secret beside it. Ordinary
texts need two; one that never comes to rest is hidden as a whole."""

_HOST: Final = rf"(?:{_MARK}|\[[0-9A-Fa-f:.]+\]|\w[\w.-]*)(?::\d{{1,5}}(?!\d))?"
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})://(?P<rest>[^\s]*)")
_CLEAN: Final = re.compile(
    rf"(?P<user>(?:{_MARK}|[^\s/?#@]*)@)?(?P<place>(?:{_HOST}(?:,{_HOST})*)?(?:/[^\s?#@]*)?)"
    r"(?:(?P<query>\?[^\s@]*)|(?P<fragment>#[^\s@]*))?(?P<tail>:$|[^\w\s@/?#\[:][^\s@]*)?"
)
"""What follows the two slashes where it is certain which part is which: one `@` at most, and that before any of `/?#`.
The tail is punctuation of the text around."""
_AHEAD: Final = 200
"""Characters after a URL that is cut by a space in its password, in which the end of the password is looked for."""


def mask_url(url: str) -> str:
    """Return a URL fit for a message: without user, password and query.

    Whoever wrote it may have put any character into the password. Unless it is certain where the password ends,
    nothing but the scheme is left.
    """
    url = url.strip()
    found = _URL.match(url)
    if found is None:
        # A directory, or a URL whose scheme was left out.
        known = url.startswith("embedded:") or re.fullmatch(r"[\w.-]+(?::\d{1,5})?(?:/\d*)?|", url)
        return hide_secrets(url) if known else HIDDEN
    # A password may hold a space, so all that follows the scheme is one piece here.
    return f"{found['scheme']}://{_masked_rest(url[found.start('rest') :]) or HIDDEN}"


def has_stray_credentials(url: str) -> bool:
    """Tell whether an `@` stands behind the part of a URL that ends at the first of `/?#`.

    Then a user or password holds one of these characters, and what programs take for the host is a part of it.
    """
    rest = url.partition("://")[2]
    return "@" in re.split(r"[/?#]", rest, maxsplit=1)[-1] if re.search(r"[/?#]", rest) else False


def _masked_rest(rest: str) -> str | None:
    """Return what follows the scheme, None where it is not certain what of it is secret."""
    found = _CLEAN.fullmatch(rest)
    if found is None or not (found["place"] or found["tail"] != ":"):
        return None
    user = f"{HIDDEN}@" if found["user"] else ""
    query = f"?{HIDDEN}" if found["query"] else ""
    fragment = found["fragment"] or ""
    if "=" in fragment:
        fragment = f"#{HIDDEN}"
    return f"{user}{found['place']}{query}{fragment}{found['tail'] or ''}"


def _mask_urls(text: str) -> str:
    """Mask the URLs in a text."""
    pieces, at = [], 0
    while (found := _URL.search(text, at)) is not None:
        end = found.end()
        rest = _masked_rest(found["rest"])
        if rest is None:
            rest = HIDDEN
            if "@" not in found["rest"] and (behind := re.match(rf"[^\n@]{{0,{_AHEAD}}}@\S*", text[end:])):
                end += behind.end()
        pieces += [text[at : found.start()], found["scheme"], "://", rest]
        at = end
    return "".join((*pieces, text[at:]))


def hide_secrets(text: str) -> str:
    """Return a text of any length without keys, passwords, tokens, e-mail addresses and long numbers."""
    for _ in range(_PASSES):
        before, text = text, _mask_urls(text)
        for pattern, replace in _RULES:
            text = pattern.sub(replace, text)
        if text == before:
            return text
    return HIDDEN


def scrub(text: str) -> str:
    """Remove keys, passwords, tokens, e-mail addresses and long numbers from a text of at most `SCAN_LIMIT`."""
    return _at_rest(text, SCAN_LIMIT, "")


def redact(text: str) -> str:
    """Scrub a text and cut it to one line of `ERROR_LIMIT` characters; doing it again changes nothing."""
    return _at_rest(" ".join(_cut(text, SCAN_LIMIT, "").split()), ERROR_LIMIT, "…", SCAN_LIMIT)


def _at_rest(text: str, limit: int, ending: str, scanned: int | None = None) -> str:
    """Return a text of at most `limit` characters in which nothing more is found, however often it is looked at."""
    text = hide_secrets(_cut(text, scanned or limit, ""))
    for _ in range(_PASSES):
        before = _cut(text, limit, ending)
        text = hide_secrets(before)
        if text == before:
            return text
    return HIDDEN


def _cut(text: str, limit: int, ending: str) -> str:
    """Cut a text, before a mark or a URL rather than within it: the rest of one could not be told from another text."""
    if len(text) <= limit:
        return text
    at = limit - len(ending)
    for whole in re.finditer(rf"{_MARK}|[A-Za-z][A-Za-z0-9+.-]{{0,31}}://\S*", text[: limit + 4 * ERROR_LIMIT]):
        if whole.start() < at < whole.end():
            at = whole.start()
            break
    return text[:at] + ending


Redacted = Annotated[str, AfterValidator(redact)]
"""A text that is redacted and shortened whenever it enters a record."""
