"""Models behind OpenAI's chat completions protocol, at OpenAI or at any server that speaks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agents.domain.errors import ProviderError, ProviderRefused, ProviderStalled, ProviderUnavailable, StreamCut
from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.gateways.providers.refusals import from_chunk, from_status
from agents.gateways.providers.tokens import count_messages, count_tokens

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
CONNECT_TIMEOUT_S = 5.0
Chunk = Mapping[str, Any]


class OpenAICompatible:
    """A Provider over the `openai` package, whose own retries are off. One object serves one event loop.

    `timeout` bounds each silence: until the first piece and between two. `limit_field`
    names the field that bounds the answer: OpenAI's newer models refuse the older
    `max_tokens`, many other servers know only that.
    """

    name = "openai"

    def __init__(
        self, *, base_url: str = "", api_key: str = "", timeout: timedelta = timedelta(seconds=20), limit_field: str | None = None
    ) -> None:
        self._base_url = base_url or OPENAI_URL
        self._api_key = api_key or "none"
        self._silence_s = timeout.total_seconds()
        self._limit_field = limit_field or ("max_tokens" if base_url else "max_completion_tokens")
        self._made: AsyncOpenAI | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        """Stream one completion, as agents.domain.providers.Provider promises."""
        heard = _Heard()
        async with aclosing(self._chunks(request)) as chunks:
            async for chunk in chunks:
                text = heard.take(chunk)
                if text:
                    yield Piece(text)
        yield heard.reply(request)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._made:
            await self._made.close()
            self._made = None

    async def _chunks(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        try:
            async with asyncio.timeout(self._silence_s):
                stream = await self._open(request)
        except Exception as error:
            raise self._translated(error, lost=ProviderUnavailable) from error
        async with aclosing(stream):
            while (chunk := await self._next(stream)) is not None:
                yield chunk

    async def _open(self, request: ModelRequest) -> Any:
        """Send the request. Chunks stay plain objects: typed ones cost several times the parsing."""
        from openai import AsyncStream  # noqa: PLC0415  (half a second to import)

        return await self._client().post(
            "/chat/completions", body=self._body(request), cast_to=object, stream=True, stream_cls=AsyncStream[object]
        )

    async def _next(self, stream: Any) -> Chunk | None:
        """Return the next chunk, or None at the end."""
        try:
            async with asyncio.timeout(self._silence_s):
                chunk = await anext(stream, None)
        except Exception as error:
            raise self._translated(error, lost=StreamCut) from error
        return chunk if isinstance(chunk, dict) or chunk is None else {}

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        return {
            "model": request.model,
            "messages": [{"role": message.role.value, "content": message.text} for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._limit_field: request.max_tokens,
        }

    def _client(self) -> AsyncOpenAI:
        if self._made is None:
            from openai import AsyncOpenAI, Timeout  # noqa: PLC0415

            timeout = Timeout(self._silence_s, connect=CONNECT_TIMEOUT_S)
            self._made = AsyncOpenAI(base_url=self._base_url, api_key=self._api_key, timeout=timeout, max_retries=0)
        return self._made

    def _translated(self, error: Exception, *, lost: type[ProviderError]) -> Exception:
        """Return the contract's error for one of the SDK's, `lost` for a broken connection; other errors as they are."""
        from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError  # noqa: PLC0415

        if isinstance(error, APIStatusError):
            return from_status(error.status_code, headers=error.response.headers, sentence=error.message)
        if isinstance(error, TimeoutError) or (isinstance(error, APITimeoutError) and not _is_connecting(error)):
            return ProviderStalled(f"{self._base_url} was silent for {self._silence_s:g} s.")
        if isinstance(error, APIConnectionError):
            return lost(f"The connection to {self._base_url} failed: {error.__cause__ or error}.")
        if isinstance(error, APIError):
            return from_chunk(error.body, sentence=error.message)
        return StreamCut(f"{self._base_url} sent what is no JSON.") if isinstance(error, ValueError) else error


def _is_connecting(error: Exception) -> bool:
    """Say whether a time-out struck before there was a connection."""
    return type(error.__cause__).__name__ in {"ConnectTimeout", "PoolTimeout"}


@dataclass(slots=True)
class _Heard:
    """What has come of one completion so far."""

    texts: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Usage | None = None

    def take(self, chunk: Chunk) -> str:
        """Note what a chunk says and return its text."""
        if chunk.get("usage"):
            self.usage = _usage(chunk["usage"])
        choices = chunk.get("choices")
        if not choices:
            return ""
        self.finish = choices[0].get("finish_reason") or self.finish
        text = (choices[0].get("delta") or {}).get("content") or ""
        if text:
            self.texts.append(text)
        return text

    def reply(self, request: ModelRequest) -> Reply:
        """Return the whole. Raises StreamCut if the model never said that it was done, ProviderRefused if it was filtered."""
        text = "".join(self.texts)
        if not self.finish:
            raise StreamCut(f"The stream of {request.model} ended before the model was done.")
        if self.finish == "content_filter" and not text:
            raise ProviderRefused(f"{request.model} refused to answer this request.", remedy="Change the request.")
        usage = self.usage or Usage(input=count_messages(request.messages), output=count_tokens(text))
        return Reply(text=text, model=request.model, usage=usage, finish=self.finish, estimated=self.usage is None)


def _usage(reported: Mapping[str, Any]) -> Usage:
    cached = (reported.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(input=reported.get("prompt_tokens", 0), output=reported.get("completion_tokens", 0), cached=cached)
