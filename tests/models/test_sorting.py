"""Errors sorted once: whatever providers, SDKs and connections raise is one of ours, in words that leak nothing."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, get_args

import httpx
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI

from stanchion.errors import (
    AuthFailed,
    BudgetExceeded,
    ConnectionFailed,
    ContextTooLong,
    InvalidRequest,
    MissingExtra,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    Overloaded,
    RateLimited,
    TimedOut,
    UnusableAnswer,
)
from stanchion.models.sorting import LONGEST_RETRY_AFTER_SECONDS, answer_within, sort_error
from stanchion.testing import OpenAIServer, Reply, bad_replies
from tests.models.anthropic_server import AnthropicServer

SECRET = "sk-secret-and-document"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = "http://127.0.0.1/v1/chat"


# --- Every class that they have ---

_HTTPX = {
    ConnectionFailed: "HTTPError RequestError TransportError NetworkError ReadError WriteError ConnectError CloseError "
    "ProxyError ProtocolError RemoteProtocolError",
    TimedOut: "TimeoutException ConnectTimeout ReadTimeout WriteTimeout PoolTimeout",
    InvalidRequest: "UnsupportedProtocol LocalProtocolError TooManyRedirects InvalidURL CookieConflict RequestNotRead",
    UnusableAnswer: "DecodingError StreamError StreamConsumed StreamClosed ResponseNotRead SSEError",
    Overloaded: "HTTPStatusError",
}

EXPECTED: dict[str, dict[type[ModelError], str]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "openai": {
        InvalidRequest: "OpenAIError BadRequestError NotFoundError UnprocessableEntityError",
        AuthFailed: "AuthenticationError OAuthError PermissionDeniedError SubjectTokenProviderError",
        Overloaded: "APIStatusError InternalServerError ConflictError",
        RateLimited: "RateLimitError",
        ConnectionFailed: "APIConnectionError WebSocketConnectionClosedError WebSocketQueueFullError",
        TimedOut: "APITimeoutError",
        UnusableAnswer: "APIError APIResponseValidationError LengthFinishReasonError",
        ModelRefused: "ContentFilterFinishReasonError",
    },
    "anthropic": {
        InvalidRequest: "AnthropicError BadRequestError NotFoundError UnprocessableEntityError PreconditionFailedError "
        "RequestHeaderFieldsTooLargeError HTTPNotImplementedError ClaudeCodeVersionTooOldError "
        "ParentOrganizationRequiredError RequestBodyEncodingInvalidError RequestBodyEncodingUnsupportedError "
        "OrganizationTypeNotSupportedError CMEKKeyDisabledError CMEKKeyNetworkBlockedError "
        "ClaudeCodeKeyCreatorNotMemberError",
        AuthFailed: "AuthenticationError PermissionDeniedError CredentialsError IdentityTokenFileError "
        "WorkloadIdentityError SandboxEgressRestrictedError OrganizationOnHoldError",
        ContextTooLong: "ContentTooLargeError RequestBodyTooLargeAfterDecodingError",
        RateLimited: "RateLimitError PaymentRequiredError RampLimitExceededError ContractSpendLimitReachedError "
        "EnforcedSpendLimitReachedError LinkedOrganizationSpendLimitReachedError "
        "LinkedOrganizationBillingUnavailableError",
        Overloaded: "APIStatusError InternalServerError ServiceUnavailableError GatewayTimeoutError OverloadedError "
        "ConflictError RetryableError CMEKContextUnavailableError CMEKKeyUnreachableError",
        TimedOut: "APITimeoutError RequestTimeoutError",
        ConnectionFailed: "APIConnectionError ClientClosedRequestError",
        UnusableAnswer: "APIError APIResponseValidationError",
    },
    "ollama": {InvalidRequest: "RequestError", Overloaded: "ResponseError"},
    "langchain_core": {  # and the integrations' own, which are subclasses of these
        AuthFailed: "ModelAuthenticationError ModelPermissionDeniedError OpenAIAuthenticationError "
        "OpenAIPermissionDeniedError AnthropicAuthenticationError AnthropicPermissionDeniedError",
        InvalidRequest: "ModelInvalidRequestError ModelNotFoundError OpenAIInvalidRequestError "
        "OpenAIModelNotFoundError AnthropicInvalidRequestError AnthropicModelNotFoundError",
        RateLimited: "ModelRateLimitError OpenAIRateLimitError AnthropicRateLimitError",
        Overloaded: "ModelAPIError OpenAIAPIError AnthropicAPIError AnthropicOverloadedError",
        ConnectionFailed: "ModelConnectionError OpenAIConnectionError AnthropicConnectionError",
        TimedOut: "ModelTimeoutError OpenAITimeoutError AnthropicTimeoutError",
        ContextTooLong: "ContextOverflowError OpenAIContextOverflowError OpenAIAPIContextOverflowError "
        "AnthropicContextOverflowError",
    },
}

NOT_OF_MODELS = {"InvalidWebhookSignatureError", "APIWebhookValidationError"}  # of messages that come in, not of calls


def classes_of(package: str) -> set[type[Exception]]:
    """Every public exception class of a package; of langchain-core, what integrations derive from its ModelError."""
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "langchain_core":
        for integration in ("langchain_openai", "langchain_anthropic"):
            if importlib.util.find_spec(integration):
                importlib.import_module(integration)
        return set(_below(importlib.import_module("langchain_core.exceptions").ModelError))
    return {
        kind
        for name, kind in list(vars(module).items())
        if inspect.isclass(kind) and issubclass(kind, Exception) and not kind.__name__.startswith("_")
        if kind.__module__.partition(".")[0] == package and kind.__name__ not in NOT_OF_MODELS
    }


def _below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def made(kind: type[Exception]) -> Exception:
    """An instance as its SDK would make it: a real response with the class's status, and its code in the body."""
    http: Any = httpx
    if any(base.__module__.startswith(("anthropic", "httpx2")) for base in kind.__mro__):
        http = importlib.import_module("httpx2") if importlib.util.find_spec("httpx2") else httpx
    default = 200 if kind.__name__ == "APIResponseValidationError" else 500
    status = next(
        (base.status_code for base in kind.__mro__ if isinstance(vars(base).get("status_code"), int)), default
    )
    code = get_args(getattr(kind, "__annotations__", {}).get("error_code"))
    inner = {"type": "some_error", "message": SECRET, "details": {"error_code": code[0]} if code else None}
    body = {"type": "error", "error": inner}
    request = http.Request("POST", ADDRESS)
    values = {
        "message": SECRET,
        "error": SECRET,
        "request": request,
        "response": http.Response(status, json=body, request=request),
        "body": body,
        "completion": SimpleNamespace(usage=None),
        "unsent_messages": [SECRET],
    }
    wanted = [one for one in inspect.signature(kind.__init__).parameters.values() if one.default is one.empty]
    if any(one.kind is one.VAR_POSITIONAL for one in wanted):
        return kind(SECRET)
    return kind(**{one.name: values[one.name] for one in wanted[1:]})


@pytest.mark.parametrize("package", EXPECTED)
def test_every_error_that_there_is_has_a_kind(package: str) -> None:
    """Each exception class of each SDK is sorted as decided here; a class that a new version brings fails until it is.

    No message repeats what the error says.
    """
    decided = {name: kind.__name__ for kind, names in EXPECTED[package].items() for name in names.split()}
    classes = classes_of(package)
    found = {kind.__name__: sort_error(made(kind), NOW) for kind in classes}

    assert {name: type(error).__name__ for name, error in found.items()} == {
        name: decided.get(name, "somebody has to decide") for name in found
    }
    assert not [name for name, error in found.items() if SECRET in str(error)]


_UNPARSED = json.JSONDecodeError("Expecting value", SECRET, 0)


class _Note(pydantic.BaseModel):
    total: int


def _caught(make: Any) -> Exception:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), TimedOut),
        (ConnectionResetError(SECRET), ConnectionFailed),
        (BrokenPipeError(), ConnectionFailed),
        (OSError("Network is unreachable"), ConnectionFailed),
        (asyncio.IncompleteReadError(b"", 5), ConnectionFailed),
        (_UNPARSED, UnusableAnswer),
        (_caught(lambda: b"\xff".decode()), UnusableAnswer),
        (_caught(lambda: "\ud800".encode()), InvalidRequest),
        (_caught(lambda: _Note(total=SECRET)), UnusableAnswer),
        (TypeError('"Could not resolve authentication method. Expected either api_key or auth_token"'), AuthFailed),
        (type("ServerTimeoutError", (Exception,), {})(), TimedOut),
        (type("ClientConnectorError", (Exception,), {})(), ConnectionFailed),
    ],
)
def test_errors_of_python_and_unknown_sdks(error: Exception, kind: type[ModelError]) -> None:
    """Built-in errors, pydantic's, and those of an SDK that nobody thought of, by their names."""
    assert type(sort_error(error)) is kind


@pytest.mark.parametrize("error", [KeyError(SECRET), RuntimeError(SECRET), ValueError({"message": SECRET})])
def test_what_nobody_knows_is_plainly_a_failure(error: Exception) -> None:
    """An error without a meaning is unavailable, of unknown cost, not retried, and named by its class only."""
    found = sort_error(error)

    assert type(found) is ModelUnavailable
    assert (str(found), found.cost_unknown, found.retryable) == (
        f"The model failed: {type(error).__name__}.",
        True,
        False,
    )


def test_ours_pass_as_they_are() -> None:
    """An error of ours is returned itself, also from behind an error that somebody put around it."""
    ours = BudgetExceeded("The day's cap is reached.")
    wrapped = RuntimeError("node failed")
    wrapped.__cause__ = ours

    assert sort_error(ours) is ours
    assert sort_error(wrapped) is ours


def test_our_other_errors_keep_their_words() -> None:
    """What a model of ours lacks is said in our own words, which hold no document: an extra, a setting, a thread."""
    found = sort_error(MissingExtra("It needs a package: pip install 'stanchion[openai]'."))

    assert (type(found), str(found)) == (ModelUnavailable, "It needs a package: pip install 'stanchion[openai]'.")
    assert not found.cost_unknown


# --- Along the chain of causes ---


def chained(*errors: Exception) -> Exception:
    """The first error, caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_a_cause_is_found_behind_an_error_that_says_nothing() -> None:
    """What an unknown wrapper hides is sorted by what it hides."""
    assert type(sort_error(chained(RuntimeError(), ValueError(), httpx.ReadTimeout("")))) is TimedOut


def test_a_suppressed_context_is_not_a_cause() -> None:
    """`raise ... from None` says that what came before has nothing to do with it."""
    error = RuntimeError()
    error.__context__ = TimeoutError()
    assert type(sort_error(error)) is TimedOut

    error.__suppress_context__ = True
    assert type(sort_error(error)) is ModelUnavailable


@pytest.mark.parametrize(
    ("cause", "kind", "cost_unknown"),
    [
        (httpx.ConnectError(""), ConnectionFailed, False),
        (httpx.PoolTimeout(""), TimedOut, False),
        (httpx.ReadTimeout(""), TimedOut, True),
        (httpx.ReadError(""), ConnectionFailed, True),
        (httpx.UnsupportedProtocol(""), InvalidRequest, False),
    ],
)
def test_a_connection_that_was_never_made_costs_nothing(
    cause: Exception, kind: type[ModelError], cost_unknown: bool
) -> None:
    """Behind an SDK's "connection error" stands whether anything was sent at all."""
    wrapper = type("APIConnectionError", (Exception,), {})()
    found = sort_error(chained(wrapper, cause))

    assert (type(found), found.cost_unknown) == (kind, cost_unknown)


def test_a_chain_without_an_end_ends() -> None:
    """Errors that cause each other are looked at a bounded number of times."""
    first, second = RuntimeError(), ValueError()
    first.__cause__, second.__cause__ = second, first

    assert type(sort_error(first)) is ModelUnavailable


# --- Real bodies over HTTP: OpenAI's protocol ---

REPLIES = bad_replies({"total": 5})


def failing(chat: Any, how: str = "ainvoke") -> Exception:
    """The error that a model raises."""

    async def stream() -> None:
        async for _ in chat.astream("Hello"):
            pass

    schema = {"title": "Note", "type": "object", "properties": {}, "required": []}
    ways = {
        "ainvoke": lambda: chat.ainvoke("Hello"),
        "astream": stream,
        "schema": lambda: chat.with_structured_output(schema).ainvoke("Hello"),
    }
    return _caught(lambda: asyncio.run(ways[how]()))


def of_openai(reply: Reply, how: str = "ainvoke") -> Exception:
    """The error that ChatOpenAI raises for a reply of a real server."""
    with OpenAIServer([reply]) as server:
        return failing(ChatOpenAI(base_url=server.url, api_key="sk-test", model="gpt-4o-mini", max_retries=0), how)


def page(status: int) -> Reply:
    """What a proxy in front of the provider sends."""
    return Reply(
        status=status, body=f"<html><h1>{status}</h1>{SECRET}</html>", headers={"content-type": "text/html; charset=u"}
    )


def body(message: str, **more: Any) -> dict[str, Any]:
    """An error in OpenAI's envelope: https://platform.openai.com/docs/guides/error-codes."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


OPENAI_BODIES: dict[str, tuple[Reply, type[ModelError], str, bool]] = {
    # As bad_replies has them, from https://platform.openai.com/docs/guides/error-codes.
    "busy": (REPLIES["rate_limited"], RateLimited, "(HTTP 429, rate_limit_exceeded)", False),
    "quota": (REPLIES["out_of_quota"], RateLimited, "(HTTP 429, insufficient_quota)", False),
    "too long": (REPLIES["context_length"], ContextTooLong, "request (HTTP 400, context_length_exceeded).", False),
    "key": (REPLIES["invalid_key"], AuthFailed, "refused the key (HTTP 401, invalid_api_key)", False),
    "model": (REPLIES["no_such_model"], InvalidRequest, "knows no such model (HTTP 404, model_not_found)", False),
    "500 page": (REPLIES["server_error"], Overloaded, "had an error (HTTP 500)", True),
    "502 page": (page(502), Overloaded, "had an error (HTTP 502)", True),
    "503": (Reply(status=503, body=body("overloaded")), Overloaded, "(HTTP 503, invalid_request_error)", False),
    "504": (page(504), Overloaded, "(HTTP 504)", True),
    "403": (
        # https://community.openai.com, many threads: "Country, region, or territory not supported".
        Reply(
            status=403,
            body=body(
                "Country, region, or territory not supported",
                code="unsupported_country_region_territory",
                type="request_forbidden",
            ),
        ),
        AuthFailed,
        "(HTTP 403, unsupported_country_region_territory)",
        False,
    ),
    "408": (Reply(status=408, body=body("timeout")), TimedOut, "did not answer in time (HTTP 408", True),
    "409": (Reply(status=409, body=body("lock")), Overloaded, "(HTTP 409", False),
    "413": (page(413), ContextTooLong, "too large (HTTP 413): the document is longer", False),
    "422": (Reply(status=422, body=body(SECRET)), InvalidRequest, "refused the request (HTTP 422", False),
    "more than a minute's tokens": (
        # https://github.com/Aider-AI/aider/issues/1880: a 429 that no waiting helps.
        Reply(
            status=429,
            body=body(
                "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested "
                "36278. The input or output tokens must be reduced in order to run successfully.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
        ),
        ContextTooLong,
        "(HTTP 429, rate_limit_exceeded)",
        False,
    ),
    "Azure's filter": (
        # https://github.com/compl-ai/compl-ai/issues/20; charged, says Azure's documentation of its content filter.
        Reply(
            status=400,
            body=body(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                type=None,
                param="prompt",
                code="content_filter",
                status=400,
                innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            ),
        ),
        ModelRefused,
        "refused the request (HTTP 400, content_filter).",
        True,
    ),
    "OpenAI's filter": (
        Reply(status=400, body=body("Your request was rejected", code="content_policy_violation")),
        ModelRefused,
        "content_policy_violation",
        True,
    ),
    "vLLM, too long": (
        # https://github.com/vllm-project/vllm, entrypoints/openai: the code is the status.
        Reply(
            status=400,
            body={
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        ContextTooLong,
        "(HTTP 400)",
        False,
    ),
    "OpenRouter, 200 with an error": (
        # https://openrouter.ai/docs/api-reference/errors: the status stands in the body.
        Reply(body={"error": {"code": 502, "message": "Provider returned error"}}),
        Overloaded,
        "(HTTP 502)",
        True,
    ),
    "200 page": (page(200), UnusableAnswer, "no answer", True),
    "no choices": (Reply(body="{}"), UnusableAnswer, "no answer", True),
    "empty choices": (Reply(body='{"choices": []}'), UnusableAnswer, "no answer", True),
    "nothing": (Reply(body=""), UnusableAnswer, "no answer", True),
    "half a body": (Reply("Hello", cut=True), ConnectionFailed, "broke off", True),
}


@pytest.mark.parametrize("how", ["ainvoke", "schema"])
@pytest.mark.parametrize("name", OPENAI_BODIES)
def test_what_openai_compatible_servers_send(name: str, how: str) -> None:
    """Each body, sent by a real server to ChatOpenAI, is the kind that says what to do, in words and at what cost."""
    reply, kind, words, cost_unknown = OPENAI_BODIES[name]
    found = sort_error(of_openai(reply, how))

    assert type(found) is kind
    assert words in str(found)
    assert SECRET not in str(found)
    assert found.cost_unknown is cost_unknown


def test_a_used_up_quota_is_not_waited_for() -> None:
    """A 429 for lack of money is not retried; one for lack of patience is, after the time that it names."""
    quota, busy = (sort_error(of_openai(REPLIES[name])) for name in ("out_of_quota", "rate_limited_retry_after"))

    assert isinstance(quota, RateLimited)
    assert isinstance(busy, RateLimited)
    assert (quota.retryable, quota.retry_after) == (False, None)
    assert (busy.retryable, busy.retry_after) == (True, 2.0)


def test_a_server_that_is_down_is_a_connection() -> None:
    """Nobody listens: nothing was sent, so nothing was charged, and it may be tried again."""
    with OpenAIServer([]) as server:
        url = server.url
    found = sort_error(failing(ChatOpenAI(base_url=url, api_key="sk-test", model="any", max_retries=0)))

    assert (type(found), found.cost_unknown, found.retryable) == (ConnectionFailed, False, True)


def test_half_a_stream_is_no_answer() -> None:
    """A stream that breaks off in the middle has been paid for, and what came is not an answer."""
    found = sort_error(of_openai(Reply("Hello, " * 20, cut=True), "astream"))

    assert (type(found), found.cost_unknown) == (UnusableAnswer, True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        # https://github.com/openai/openai-python/issues: as the service sends it after a stream has begun.
        ({"message": "The server had an error processing your request.", "type": "server_error"}, Overloaded),
        ({"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}, RateLimited),
        ({"message": "Provider disconnected", "code": 502}, Overloaded),
        ({"message": SECRET}, UnusableAnswer),
    ],
)
def test_an_error_inside_a_stream(error: dict[str, Any], kind: type[ModelError]) -> None:
    """After a stream has begun with status 200, the code in its error event says what the status cannot."""
    stream = f"data: {json.dumps({'error': error})}\n\n"
    found = sort_error(of_openai(Reply(body=stream, headers={"content-type": "text/event-stream"}), "astream"))

    assert type(found) is kind


def test_an_answer_within_an_error_is_taken_out() -> None:
    """The SDK raises a cut-off answer, which was paid for; an error without one holds none."""
    cut_off, busy = (of_openai(REPLIES[name], "schema") for name in ("truncated", "rate_limited"))

    message = answer_within(cut_off)
    assert message is not None
    assert message.text == REPLIES["truncated"].text
    assert message.usage_metadata is not None
    assert message.response_metadata["finish_reason"] == "length"
    assert answer_within(busy) is None
    assert answer_within(KeyError("x")) is None


# --- Real bodies over HTTP: Anthropic's protocol ---


def anthropic(kind: str, message: str, **more: Any) -> dict[str, Any]:
    """An error as https://docs.claude.com/en/api/errors describes it."""
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


ANTHROPIC_BODIES: dict[str, tuple[int, Any, type[ModelError], str]] = {
    "overloaded": (529, anthropic("overloaded_error", "Overloaded"), Overloaded, "(HTTP 529, overloaded_error)"),
    "busy": (
        # https://github.com/anthropics/claude-code/issues/55789
        429,
        anthropic("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
        RateLimited,
        "(HTTP 429, rate_limit_error)",
    ),
    "too long": (
        400,
        anthropic("invalid_request_error", "prompt is too long: 214315 tokens > 200000 maximum"),
        ContextTooLong,
        "longer than the model can read",
    ),
    "too long with the answer": (
        400,
        anthropic(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or "
            "`max_tokens` and try again",
        ),
        ContextTooLong,
        "longer than the model can read",
    ),
    "no credit": (
        # https://github.com/anthropics/claude-code/issues/66314: a 400, not a 429.
        400,
        anthropic(
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
        ),
        RateLimited,
        "(HTTP 400, invalid_request_error)",
    ),
    "filter": (
        # https://github.com/anthropics/claude-code/issues/55789
        400,
        anthropic("invalid_request_error", "Output blocked by content filtering policy", details=None),
        ModelRefused,
        "content filter",
    ),
    "billing": (402, anthropic("billing_error", "Your organization is out of credits"), RateLimited, "paid first"),
    "key": (401, anthropic("authentication_error", "invalid x-api-key"), AuthFailed, "refused the key"),
    "model": (404, anthropic("not_found_error", "model: claude-none"), InvalidRequest, "knows no such model"),
    "32 MB": (413, anthropic("request_too_large", "Request exceeds the maximum size"), ContextTooLong, "too large"),
    "500": (500, anthropic("api_error", "Internal server error"), Overloaded, "(HTTP 500, api_error)"),
    "gateway": (504, anthropic("timeout_error", "Gateway timeout"), Overloaded, "(HTTP 504, timeout_error)"),
    "page": (503, f"<html>{SECRET}</html>".encode(), Overloaded, "(HTTP 503)"),
}


def of_anthropic(status: int, sent: Any, headers: dict[str, str] | None = None, how: str = "ainvoke") -> Exception:
    """The error that ChatAnthropic raises for a reply of a real server."""
    package = pytest.importorskip("langchain_anthropic", reason="the extra `anthropic` is not installed")
    with AnthropicServer(sent, status, headers) as server:
        return failing(package.ChatAnthropic(model="c", api_key="sk", base_url=server.url, max_retries=0), how)


@pytest.mark.parametrize("name", ANTHROPIC_BODIES)
def test_what_anthropic_sends(name: str) -> None:
    """Each body of Anthropic's, through ChatAnthropic; what is used up is not retried."""
    status, sent, kind, words = ANTHROPIC_BODIES[name]
    found = sort_error(of_anthropic(status, sent))

    assert type(found) is kind
    assert words in str(found)
    assert SECRET not in str(found)
    if kind is RateLimited:
        assert found.retryable is (name == "busy")


def test_anthropics_overload_inside_a_stream_may_have_cost() -> None:
    """With status 529 nothing was begun; the same error inside a stream comes after the model has started."""
    error = anthropic("overloaded_error", "Overloaded")
    event = f"event: error\ndata: {json.dumps(error)}\n\n".encode()
    inside = sort_error(of_anthropic(200, event, {"content-type": "text/event-stream"}, "astream"))
    outside = sort_error(of_anthropic(529, error, {"retry-after": "7"}))

    assert (type(inside), inside.cost_unknown) == (Overloaded, True)
    assert isinstance(outside, Overloaded)
    assert (outside.cost_unknown, outside.retry_after) == (False, 7.0)


# --- When to come back ---


def refused(headers: dict[str, str], message: str = "", status: int = 429) -> httpx.HTTPStatusError:
    """A plain httpx error, as clients without an SDK raise it."""
    request = httpx.Request("POST", ADDRESS)
    response = httpx.Response(status, headers=headers, json={"error": {"message": message}}, request=request)
    return httpx.HTTPStatusError("", request=request, response=response)


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"Retry-After": "30"}, "", 30.0),
        ({"retry-after": " 1.5 "}, "", 1.5),
        ({"retry-after": "0"}, "", 0.0),
        ({"retry-after": "30", "retry-after-ms": "250"}, "", 0.25),
        ({"retry-after": "30", "retry-after-ms": "soon"}, "", 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT"}, "", 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 -0000"}, "", 90.0),
        ({"retry-after": "Thu, 01 Jan 2026 01:00:30 +0100"}, "", 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:59:00 GMT"}, "", None),
        ({"retry-after": "999999999999"}, "", LONGEST_RETRY_AFTER_SECONDS),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, "", LONGEST_RETRY_AFTER_SECONDS),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "inf"}, "", None),
        ({"retry-after": "1e9"}, "", None),
        ({"retry-after": "1_000"}, "", None),
        ({"retry-after": "9" * 5_000}, "", None),
        ({}, "", None),
        ({}, "Rate limit reached. Please try again in 3.89s. Visit us.", 3.89),
        ({}, "Please try again in 174ms.", 0.174),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Please try again in 1h2m3s.", 3723.0),
        ({}, "Please try again in a while.", None),
        ({"retry-after": "2"}, "Please try again in 9s.", 2.0),
    ],
)
def test_when_to_come_back(headers: dict[str, str], message: str, seconds: float | None) -> None:
    """Seconds, milliseconds, dates and OpenAI's words are understood; what is negative, past or garbage is ignored."""
    found = sort_error(refused(headers, message), NOW)

    assert isinstance(found, RateLimited)
    assert found.retry_after == (None if seconds is None else pytest.approx(seconds))


def test_a_date_needs_the_time() -> None:
    """Without knowing what time it is, a date to come back at counts as not given: no clock is read here."""
    found = sort_error(refused({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT"}))

    assert isinstance(found, RateLimited)
    assert found.retry_after is None


def test_an_overloaded_provider_may_say_when_too() -> None:
    """503 with Retry-After keeps it."""
    found = sort_error(refused({"retry-after": "5"}, status=503))

    assert isinstance(found, Overloaded)
    assert (found.retry_after, found.cost_unknown) == (5.0, False)


# --- Hostile errors ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "status", "message", "details", "innererror"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(JSON, JSON, JSON, st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40)))
def test_whatever_an_error_carries_it_is_sorted(status: Any, code: Any, sent: Any, headers: dict[str, str]) -> None:
    """No combination of attributes breaks the sorting, and a wait is always one that can be waited for."""
    error = RuntimeError(SECRET)
    response = SimpleNamespace(status_code=status, headers=headers, content=json.dumps(sent).encode())
    for name, value in {"status_code": status, "code": code, "body": sent, "response": response}.items():
        setattr(error, name, value)
    found = sort_error(error, NOW)

    assert isinstance(found, ModelError)
    assert SECRET not in str(found)
    wait = getattr(found, "retry_after", None)
    assert wait is None or 0 <= wait <= LONGEST_RETRY_AFTER_SECONDS


def test_an_error_whose_attributes_raise_is_sorted() -> None:
    """Properties of SDKs' errors may raise anything; they count as not there."""

    class Thorny(TimeoutError):
        @property
        def response(self) -> Any:
            raise RuntimeError("not set")

        status_code = code = body = response

        def __str__(self) -> str:
            raise RuntimeError("unfinished")

    assert type(sort_error(Thorny())) is TimedOut


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 99_000,
        b'{"error":' * 10_000 + b"1" + b"}" * 10_000,
        b"\xff\xfe\x00",
        b"try again in " * 7_000,
        b" " * 10**7,
    ],
)
def test_hostile_bodies_are_sorted_by_their_status(content: bytes) -> None:
    """Deep, huge or binary bodies say nothing, and do no harm."""
    request = httpx.Request("POST", ADDRESS)
    response = httpx.Response(503, content=content, request=request)

    assert type(sort_error(httpx.HTTPStatusError("", request=request, response=response))) is Overloaded


@pytest.mark.parametrize("code", ["sk-secret", "Total 5", "UPPER", "a" * 41, "a\nb", 5, None])
def test_only_short_plain_codes_are_shown(code: Any) -> None:
    """A provider's code is shown where it looks like one; anything else may be a key or a document."""
    error: Any = RuntimeError()
    error.status_code, error.code = 500, code

    assert str(sort_error(error)) == "The provider had an error (HTTP 500)."
