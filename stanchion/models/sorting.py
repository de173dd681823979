"""From whatever a provider's SDK raises to one of our errors, which says what may be done about it.

SDKs are known here by what their errors carry (a status, a body, a class name) and never imported: most are not
installed, and importing one takes a second. An error's own text is only ever matched, never shown: it may repeat the
document or a key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, NamedTuple

from stanchion.errors import (
    AuthFailed,
    ConnectionFailed,
    ContextTooLong,
    InvalidRequest,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    Overloaded,
    RateLimited,
    StanchionError,
    TimedOut,
    UnusableAnswer,
)

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

LONGEST_RETRY_AFTER_SECONDS = 86_400.0  # limits per day are the longest that providers have

_LONGEST_CHAIN = 10  # an error, its cause, the cause's cause: no SDK wraps deeper than four
_LONGEST_TEXT = 4_000  # characters of an error's text that are looked at
_LONGEST_BODY = 100_000  # bytes; an error's JSON is a few hundred
_SHOWABLE_CODE = re.compile("[a-z_]{1,40}")  # such as `insufficient_quota`; anything else may hold a secret

_WORDS: dict[type[ModelError], str] = {
    AuthFailed: "The provider cannot be asked without a key that it takes",
    ConnectionFailed: "The connection to the model failed or broke off",
    ContextTooLong: "The document is longer than the model can read at once",
    InvalidRequest: "The request cannot be sent as it is: the model's address or its settings do not fit",
    ModelRefused: "The provider's content filter stopped the call",
    Overloaded: "The provider had an error",
    RateLimited: "The provider is busy or the quota is used up",
    TimedOut: "The model did not answer in time",
    UnusableAnswer: "What came back from the provider is no answer",
}

_STATUS_IN_WORDS = {
    401: "The provider refused the key",
    402: "The provider wants to be paid first",
    403: "The provider refused the key",
    404: "The provider knows no such model",
    413: "The provider found the request too large",
}

_KIND_OF_STATUS: dict[int, type[ModelError]] = {
    401: AuthFailed,
    402: RateLimited,  # the balance is used up, as DeepSeek and OpenRouter say it
    403: AuthFailed,
    407: AuthFailed,  # a proxy's
    408: TimedOut,
    409: Overloaded,  # a lock was not free, says OpenAI's SDK, and tries again
    413: ContextTooLong,  # Anthropic: over 32 MB
    425: Overloaded,
    429: RateLimited,
    499: ConnectionFailed,  # a proxy saw its client hang up
    501: InvalidRequest,  # what a server does not know how to do, it will not know in a second
}
_NOT_BEGUN = {409, 425, 503, 529}  # turned away at the gate, so that nothing was generated

_STATUS_OF_CODE = {  # for errors inside a stream, whose status is 200, and bodies without a status
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_request_error": 400,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_KIND_OF_CODE: dict[str, type[ModelError]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,  # llama.cpp
    "string_above_max_length": ContextTooLong,
    "content_filter": ModelRefused,
    "content_policy_violation": ModelRefused,
    "responsibleaipolicyviolation": ModelRefused,
    "invalid_prompt": ModelRefused,  # OpenAI's reasoning models, of a prompt against the usage policy
    "insufficient_quota": RateLimited,
    "billing_hard_limit_reached": RateLimited,
    "billing_not_active": RateLimited,
    "billing_error": RateLimited,
    "enforced_spend_limit_reached": RateLimited,  # Anthropic's three, with 429 and 402
    "contract_spend_limit_reached": RateLimited,
    "linked_organization_spend_limit_reached": RateLimited,
    "organization_on_hold": AuthFailed,  # Anthropic, with 400
}

_KIND_OF_PHRASE: dict[str, type[ModelError]] = {  # where providers have no code for it; lower case
    "prompt is too long": ContextTooLong,  # Anthropic
    "exceed context limit": ContextTooLong,  # Anthropic, prompt and max_tokens together
    "maximum context length": ContextTooLong,  # OpenAI, vLLM, Mistral
    "exceeds the context": ContextTooLong,  # OpenAI's responses, Ollama
    "exceeds the available context size": ContextTooLong,  # llama.cpp
    "input tokens exceed the configured limit": ContextTooLong,  # OpenAI
    "input token count": ContextTooLong,  # Google
    "input is too long for requested model": ContextTooLong,  # Bedrock
    "request too large for": ContextTooLong,  # OpenAI and Groq: more than a whole minute's tokens, waiting is no use
    "blocked by content filtering policy": ModelRefused,  # Anthropic
    "content management policy": ModelRefused,  # Azure
    "credit balance is too low": RateLimited,  # Anthropic
    "reached your specified api usage limits": RateLimited,  # Anthropic
}

_KIND_OF_NAME: dict[str, type[ModelError]] = {
    # langchain-core
    "ContextOverflowError": ContextTooLong,
    "ModelAuthenticationError": AuthFailed,
    "ModelPermissionDeniedError": AuthFailed,
    "ModelInvalidRequestError": InvalidRequest,
    "ModelNotFoundError": InvalidRequest,
    "ModelRateLimitError": RateLimited,
    "ModelAPIError": Overloaded,
    "ModelConnectionError": ConnectionFailed,
    "ModelTimeoutError": TimedOut,
    "OutputParserException": UnusableAnswer,
    # openai, anthropic and others that Stainless generates
    "APIConnectionError": ConnectionFailed,
    "APITimeoutError": TimedOut,
    "APIResponseValidationError": UnusableAnswer,
    "LengthFinishReasonError": UnusableAnswer,
    "ContentFilterFinishReasonError": ModelRefused,
    "SubjectTokenProviderError": AuthFailed,
    "CredentialsError": AuthFailed,
    "WorkloadIdentityError": AuthFailed,
    "OpenAIRefusalError": ModelRefused,  # langchain-openai's
    "WebSocketConnectionClosedError": ConnectionFailed,
    "WebSocketQueueFullError": ConnectionFailed,
    "RetryableError": Overloaded,
    "APIError": UnusableAnswer,  # the class itself: an error inside a stream, with a code that we do not know
    "OpenAIError": InvalidRequest,  # the class itself: settings that contradict each other, or none
    "AnthropicError": InvalidRequest,
    # ollama
    "ollama.RequestError": InvalidRequest,
    "ollama.ResponseError": Overloaded,  # without a status: the runner failed inside a stream
    # httpx, httpx2, httpcore, h11
    "TimeoutException": TimedOut,
    "TooManyRedirects": InvalidRequest,
    "UnsupportedProtocol": InvalidRequest,
    "LocalProtocolError": InvalidRequest,
    "InvalidURL": InvalidRequest,
    "CookieConflict": InvalidRequest,
    "RequestNotRead": InvalidRequest,
    "DecodingError": UnusableAnswer,
    "StreamError": UnusableAnswer,
    "SSEError": UnusableAnswer,
    "HTTPError": ConnectionFailed,
    # Python
    "TimeoutError": TimedOut,
    "ConnectionError": ConnectionFailed,
    "IncompleteReadError": ConnectionFailed,
    "OSError": ConnectionFailed,
    "JSONDecodeError": UnusableAnswer,
    "ValidationError": UnusableAnswer,
    "UnicodeDecodeError": UnusableAnswer,
    "UnicodeEncodeError": InvalidRequest,  # half a character in the prompt: it cannot be written as UTF-8
}

_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError", "gaierror"}

_NO_ANSWER_PHRASES = (  # of plain KeyErrors, TypeErrors and ValueErrors of LangChain; lower case
    "response missing 'choices'",
    "null value for 'choices'",
    "unexpected response type from openai-compatible endpoint",
    "no generation chunks were returned",
    "no generations found in stream",
)
_NO_KEY_PHRASE = "could not resolve authentication method"  # a TypeError of anthropic
_HALF_A_STREAM_PHRASE = "incomplete chunked read"  # a RemoteProtocolError of httpx, from h11


def sort_error(error: Exception, now: datetime | None = None) -> ModelError:
    """Return the one of our errors that says what an error of a model, SDK or connection means.

    Args:
        error: anything that was raised while a model was asked; ours are returned as they are.
        now: aware; needed to understand a `Retry-After` that is a date, which counts as not given without it.
    """
    links = list(_chain(error))
    for position, link in enumerate(links):
        if isinstance(link, ModelError):
            return link
        if isinstance(link, StanchionError) and not isinstance(link, TimeoutError):
            return ModelUnavailable(str(link), cost_unknown=False)  # something of ours that the model needs; our words
        if found := _sorted(_facts(link), now):
            return _by_its_cause(found, links[position:])
    if _stumbled(error):
        return UnusableAnswer(f"{_WORDS[UnusableAnswer]}.")
    return ModelUnavailable(f"The model failed: {type(error).__name__}.", cost_unknown=True)


def answer_within(error: Exception) -> AIMessage | None:
    """Return the answer that an error hides: openai's SDK raises cut-off and filtered ones, though they were paid for.

    langchain-openai leaves the HTTP response on the error; its body is a chat completion:
    https://platform.openai.com/docs/api-reference/chat/object.

    Args:
        error: anything that was raised while a model was asked.
    """
    from langchain_core.messages import AIMessage
    from langchain_core.messages.ai import UsageMetadata

    try:
        response = error.response  # type: ignore[attr-defined]
        completion = response.raise_for_status().json()
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        said = choice["message"]
        message = AIMessage(
            said["content"] or "",
            additional_kwargs={"refusal": said["refusal"]} if said.get("refusal") else {},
            response_metadata={"finish_reason": choice["finish_reason"], "model_name": completion["model"]},
        )
        read, written = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
    except Exception:  # no response, or whatever else a server sends
        return None
    if usage:
        message.usage_metadata = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return message


# --- What an error says of itself ---


class _Facts(NamedTuple):
    """What there is to know of one error.

    Args:
        names: its classes' names, nearest first.
        status: the HTTP status; of an error inside a stream the one that its code stands for.
        sent_status: the HTTP status as it came.
        codes: the provider's short codes for it, lower case.
        shown_code: the code that a person may see.
        text: what it says, lower case, cut; for matching.
        headers: HTTP headers by lower-case name.
    """

    names: tuple[str, ...]
    status: int | None
    sent_status: int | None
    codes: tuple[str, ...]
    shown_code: str
    text: str
    headers: dict[str, str]


def _facts(error: BaseException) -> _Facts:
    response, layers = _read(error, "response"), _layers(error)
    raw_codes = [_read(error, name) for name in ("error_code", "code", "type")]
    raw_codes += [layer.get(name) for layer in layers for name in ("code", "type", "status", "error_code")]
    texts = [code for code in raw_codes if isinstance(code, str)]
    codes = tuple(text.lower() for text in texts)
    sent = [_read(error, "status_code"), _read(response, "status_code"), *raw_codes]
    statuses = [code for code in sent if isinstance(code, int) and not isinstance(code, bool) and 100 <= code < 600]
    sent_status = next((status for status in statuses if status >= 300), next(iter(statuses), None))
    implied = next((_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE), sent_status)
    return _Facts(
        names=tuple(_qualified_names(error)),
        status=sent_status if sent_status is not None and sent_status >= 300 else implied,
        sent_status=sent_status,
        codes=codes,
        shown_code=next((text for text in texts if _SHOWABLE_CODE.fullmatch(text)), ""),
        text=_text(error, layers),
        headers=_headers(response),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, as a traceback shows them."""
    link: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _read(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # properties of SDKs raise what they like, such as httpx's `request`
        return None


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _qualified_names(error: BaseException) -> Iterator[str]:
    """Yield each class's name, with its package first: two SDKs mean different things by `RequestError`."""
    for kind in type(error).__mro__:
        yield f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        yield kind.__name__


def _layers(error: BaseException) -> list[dict[str, Any]]:
    """Return the error's JSON objects from the outside in; providers nest them in `error`, `details`, `innererror`."""
    found: list[dict[str, Any]] = []
    waiting = [_body(error)]
    while waiting and len(found) < _LONGEST_CHAIN:
        layer = waiting.pop(0)
        if isinstance(layer, dict):
            found.append(layer)
            waiting += [layer.get(name) for name in ("error", "details", "innererror")]
    return found


def _body(error: BaseException) -> Any:
    """Return what the provider sent, parsed: SDKs keep it as `body`, plain httpx in the response, LangChain as args."""
    if isinstance(body := _read(error, "body"), dict):
        return body
    if error.args and isinstance(error.args[0], dict):
        return error.args[0]
    content = _read(_read(error, "response"), "content")
    if not isinstance(content, bytes) or len(content) > _LONGEST_BODY:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _text(error: BaseException, layers: list[dict[str, Any]]) -> str:
    try:
        own = str(error)[:_LONGEST_TEXT]
    except Exception:  # an SDK's, of an unfinished error
        own = ""
    said = [layer["message"][:_LONGEST_TEXT] for layer in layers if isinstance(layer.get("message"), str)]
    return "\n".join([own, *said]).lower()


def _headers(response: Any) -> dict[str, str]:
    try:
        return {str(name).lower(): str(value) for name, value in response.headers.items()}
    except Exception:  # no response, or one of another make
        return {}


# --- What it means ---


def _sorted(facts: _Facts, now: datetime | None) -> ModelError | None:
    return _by_content(facts, now) or _by_status(facts, now) or _by_name(facts) or _by_lack_of_an_answer(facts)


def _by_content(facts: _Facts, now: datetime | None) -> ModelError | None:
    """Sort what the provider has said more exactly than by its status."""
    if facts.status is not None and facts.status >= 500:
        return None
    if "ContextOverflowError" in facts.names:
        return _make(ContextTooLong, facts, now)
    kind = next((_KIND_OF_CODE[code] for code in facts.codes if code in _KIND_OF_CODE), None)
    if kind is None and facts.status is not None and facts.status >= 300:  # otherwise the text may be the model's own
        kind = next((kind for phrase, kind in _KIND_OF_PHRASE.items() if phrase in facts.text), None)
    return _make(kind, facts, now, quota_used_up=True) if kind else None


def _by_status(facts: _Facts, now: datetime | None) -> ModelError | None:
    if facts.status is None or facts.status < 300:
        return None
    kind = _KIND_OF_STATUS.get(facts.status, Overloaded if facts.status >= 500 else InvalidRequest)
    return _make(kind, facts, now, quota_used_up=facts.status == 402)


def _by_name(facts: _Facts) -> ModelError | None:
    if "RemoteProtocolError" in facts.names and _HALF_A_STREAM_PHRASE in facts.text:
        return UnusableAnswer("The model's answer broke off in the middle.")
    kind = next((_KIND_OF_NAME[name] for name in facts.names if name in _KIND_OF_NAME), None)
    if kind is None:  # an SDK that we do not know
        whole = " ".join(facts.names).lower()
        kind = TimedOut if "timeout" in whole else ConnectionFailed if "connect" in whole else None
    return _make(kind, facts, None) if kind else None


def _by_its_cause(found: ModelError, links: list[BaseException]) -> ModelError:
    """Look behind an SDK's word "connection": at an address without a host, half a body, or a host never reached."""
    if not isinstance(found, ConnectionFailed | TimedOut):
        return found
    causes = [_by_name(_facts(link)) for link in links[1:]] if isinstance(found, ConnectionFailed) else []
    found = next((cause for cause in causes if isinstance(cause, InvalidRequest | UnusableAnswer | TimedOut)), found)
    if isinstance(found, ConnectionFailed | TimedOut) and any(_names(link) & _NEVER_SENT for link in links):
        found.cost_unknown = False
    return found


def _stumbled(error: Exception) -> bool:
    """Say whether LangChain's own code fell over something missing in an answer, such as `{"choices": []}`."""
    if not isinstance(error, LookupError | AttributeError) or error.__traceback__ is None:
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("langchain")


def _by_lack_of_an_answer(facts: _Facts) -> ModelError | None:
    """Sort plain errors that SDKs stumble over: of an answer of another shape, or of a key that is missing."""
    if _NO_KEY_PHRASE in facts.text:
        return _make(AuthFailed, facts, None)
    if facts.status is not None or any(phrase in facts.text for phrase in _NO_ANSWER_PHRASES):
        return _make(UnusableAnswer, facts, None)
    return None


def _make(kind: type[ModelError], facts: _Facts, now: datetime | None, *, quota_used_up: bool = False) -> ModelError:
    message = _message(kind, facts)
    if issubclass(kind, RateLimited):
        wait = None if quota_used_up else _retry_after(facts, now)
        return kind(message, retry_after=wait, quota_used_up=quota_used_up)
    if issubclass(kind, Overloaded):
        # Inside a stream, the model had begun to write whatever the error's name.
        turned_away = facts.status in _NOT_BEGUN and facts.sent_status == facts.status
        wait = _retry_after(facts, now)
        return kind(message, retry_after=wait, cost_unknown=False if turned_away else None)
    if issubclass(kind, ModelRefused):  # Azure charges for a prompt that its filter stops with a 400
        return kind(message, cost_unknown=True)
    return kind(message)


def _message(kind: type[ModelError], facts: _Facts) -> str:
    """Say it in words, with the status and the provider's short code for whoever looks it up."""
    status = facts.sent_status
    if status is None or status < 300:
        return f"{_WORDS[kind]} ({facts.shown_code})." if facts.shown_code else f"{_WORDS[kind]}."
    words = _STATUS_IN_WORDS.get(status, _WORDS[kind])
    if status in (400, 422):
        words = "The provider refused the request"
    where = f"(HTTP {status}, {facts.shown_code})" if facts.shown_code else f"(HTTP {status})"
    if kind in (ContextTooLong, ModelRefused) and facts.shown_code not in _KIND_OF_CODE:  # the code does not say it
        where += f": {_WORDS[kind][0].lower()}{_WORDS[kind][1:]}"
    return f"{words} {where}."


# --- When to come back ---

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_TRY_AGAIN = re.compile(  # OpenAI: "Please try again in 1m3.5s"; also "174ms"
    r"try again in (?:([0-9]{1,4})h)?(?:([0-9]{1,4})m(?!s))?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s))?"
)


def _retry_after(facts: _Facts, now: datetime | None) -> float | None:
    """Return the seconds after which the provider wants to be asked again; None where it did not say.

    The headers: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after, and `retry-after-ms` as OpenAI, Azure and
    Anthropic send it; the words: those of OpenAI's 429.
    """
    seconds = _number(facts.headers.get("retry-after-ms"), 1_000)
    if seconds is None:
        header = facts.headers.get("retry-after")
        seconds = _number(header, 1)
        if seconds is None:
            seconds = _until(header, now)
    if seconds is None:
        seconds = _from_words(facts.text)
    return None if seconds is None else min(seconds, LONGEST_RETRY_AFTER_SECONDS)


def _number(text: str | None, per_second: int) -> float | None:
    text = (text or "").strip()
    return float(text) / per_second if _NUMBER.fullmatch(text) else None


def _until(text: str | None, now: datetime | None) -> float | None:
    """Return the seconds until an HTTP date; None if it is none, or past."""
    if not text or len(text) > 64 or now is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        seconds = ((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return seconds if seconds >= 0 else None


def _from_words(text: str) -> float | None:
    match = _TRY_AGAIN.search(text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, rest, unit = match.groups()
    seconds = float(rest or 0) / (1_000 if unit == "ms" else 1)
    return int(hours or 0) * 3_600 + int(minutes or 0) * 60 + seconds
