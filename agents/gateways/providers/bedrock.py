"""Models behind Amazon Bedrock's ConverseStream, spoken over HTTP on the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from agents.domain.errors import ProviderDown, ProviderError, ProviderStalled, ProviderUnavailable, StreamCut
from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.gateways.providers import thinking
from agents.gateways.providers.aws import AwsAccess
from agents.gateways.providers.heard import FILTERED, Heard
from agents.gateways.providers.refusals import from_code, from_status
from agents.gateways.providers.turns import system_texts, turns

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 5.0
MOST_CONNECTIONS = 1000
KEPT_CONNECTIONS = 100
HEADERS: Mapping[str, str] = MappingProxyType({"content-type": "application/json", "accept": "application/vnd.amazon.eventstream"})
FINISHES: Mapping[str, str] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "content_filtered": FILTERED,
        "guardrail_intervened": FILTERED,
        "refusal": FILTERED,
    }
)


class Bedrock:
    """A Provider over Bedrock's own wire. Nothing is tried again. One object serves one event loop.

    Requests are signed with AWS's usual credentials, or carry `api_key` as a Bedrock
    API key. `base_url` overrides the region's endpoint. `timeout` bounds each silence.
    """

    name = "bedrock"

    def __init__(self, *, base_url: str = "", api_key: str = "", region: str = "", timeout: timedelta = timedelta(seconds=20)) -> None:
        self._access = AwsAccess("bedrock-runtime", signing_name="bedrock", region=region, endpoint=base_url, api_key=api_key)
        self._silence_s = timeout.total_seconds()
        self._made: httpx.AsyncClient | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one conversation's answer, as agents.domain.providers.Provider promises."""
        heard = Heard(request)
        async with aclosing(self._events(request)) as events:
            async for kind, event in events:
                if text := _take(heard, kind, event):
                    yield Piece(text)
        yield heard.reply()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._made:
            await self._made.aclose()
            self._made = None

    async def _events(self, request: ModelRequest) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield each event's type and JSON. Raises the contract's errors; closing it ends the call."""
        from botocore.eventstream import EventStreamBuffer  # noqa: PLC0415  (loaded when called)

        async with self._answer(request) as answer:
            buffer = EventStreamBuffer()
            async with aclosing(self._chunks(answer)) as chunks:
                async for chunk in chunks:
                    buffer.add_data(chunk)
                    for event in _decoded(buffer):
                        yield event

    @asynccontextmanager
    async def _answer(self, request: ModelRequest) -> AsyncIterator[httpx.Response]:
        """Send the request and yield the answer, open and unread."""
        client, sent = await self._sent(request)
        try:
            answer = await client.send(sent, stream=True)
        except Exception as error:
            raise self._translated(error, lost=ProviderUnavailable) from error
        try:
            if answer.status_code >= 400:
                raise from_status(answer.status_code, headers=answer.headers, sentence=_sentence(await self._whole(answer)))
            yield answer
        finally:
            await answer.aclose()

    async def _sent(self, request: ModelRequest) -> tuple[httpx.AsyncClient, httpx.Request]:
        url = f"{await self._access.endpoint()}/model/{quote(request.model, safe='')}/converse-stream"
        body = orjson.dumps(_body(request))
        headers = await self._access.headers(url, body, HEADERS)
        client = self._client()
        return client, client.build_request("POST", url, content=body, headers=headers)

    async def _chunks(self, answer: httpx.Response) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in answer.aiter_bytes():
                yield chunk
        except Exception as error:
            raise self._translated(error, lost=StreamCut) from error

    async def _whole(self, answer: httpx.Response) -> bytes:
        async with aclosing(self._chunks(answer)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def _client(self) -> httpx.AsyncClient:
        if self._made is None:
            import httpx  # noqa: PLC0415

            self._made = httpx.AsyncClient(
                timeout=httpx.Timeout(self._silence_s, connect=CONNECT_TIMEOUT_S),
                limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=KEPT_CONNECTIONS),
            )
        return self._made

    def _translated(self, error: Exception, *, lost: type[ProviderError]) -> Exception:
        """Return the contract's error for one of httpx's, `lost` for a broken connection; other errors as they are."""
        import httpx  # noqa: PLC0415

        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
            return ProviderStalled(f"Bedrock was silent for {self._silence_s:g} s.")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ProviderDown(f"The connection to Bedrock failed: {error!r}.")
        return lost(f"The connection to Bedrock failed: {error!r}.") if isinstance(error, httpx.TransportError) else error


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": [{"role": role.value, "content": _blocks(texts)} for role, texts in turns(request.messages)],
        "inferenceConfig": {"maxTokens": request.max_tokens},
    }
    system, more = system_texts(request.messages), thinking.off(request.model)
    return {**body, **({"system": _blocks(system)} if system else {}), **({"additionalModelRequestFields": more} if more else {})}


def _blocks(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def _decoded(buffer: Any) -> Iterator[tuple[str, Any]]:
    """Yield what lies whole in the buffer. Raises StreamCut for damaged framing, and the error that an exception event tells."""
    from botocore.eventstream import ParserError  # noqa: PLC0415

    try:
        for message in buffer:
            yield _event(message.headers, orjson.loads(message.payload or b"{}"))
    except (ParserError, ValueError) as error:
        raise StreamCut(f"Bedrock sent an event that cannot be read: {error}") from error


def _event(headers: Mapping[str, Any], payload: Any) -> tuple[str, Any]:
    if headers.get(":message-type") == "event":
        return str(headers.get(":event-type")), payload
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "")
    raise from_code(code, sentence=_told(payload) or str(headers.get(":error-message") or code))


def _take(heard: Heard, kind: str, event: Mapping[str, Any]) -> str:
    """Note what an event says and return its text."""
    if kind == "contentBlockDelta":
        return heard.add((event.get("delta") or {}).get("text"))
    if kind == "messageStop":
        reason = event.get("stopReason") or ""
        heard.finish = FINISHES.get(reason, reason)
    if kind == "metadata" and event.get("usage"):
        heard.usage = _usage(event["usage"])
    return ""


def _usage(reported: Mapping[str, Any]) -> Usage:
    """Read the counts. What the cache held, or took in, is apart from the protocol's input and part of ours."""
    cached, written = reported.get("cacheReadInputTokens") or 0, reported.get("cacheWriteInputTokens") or 0
    return Usage(input=(reported.get("inputTokens") or 0) + cached + written, output=reported.get("outputTokens") or 0, cached=cached)


def _sentence(body: bytes) -> str:
    """Return what a refusal says."""
    try:
        return _told(orjson.loads(body)) or "Bedrock gave no reason."
    except ValueError:
        return body.decode(errors="replace").strip() or "Bedrock gave no reason."


def _told(payload: Any) -> str:
    return str(payload.get("message") or payload.get("Message") or "") if isinstance(payload, dict) else ""
