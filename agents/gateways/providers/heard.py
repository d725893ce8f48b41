"""What has come of one streamed answer so far, and the reply that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.domain.errors import ProviderRefused, StreamCut
from agents.domain.storable import Whole
from agents.domain.values import ModelRequest, Reply, Usage
from agents.gateways.providers.tokens import count_messages, count_tokens

FILTERED = "content_filter"
"""The finish of an answer that was withheld, in OpenAI's word; other protocols' words are translated."""


@dataclass(slots=True)
class Heard:
    """Collects an answer. `finish` is empty until the model says that it is done, `usage` None until it is counted."""

    request: ModelRequest
    texts: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Usage | None = None
    _whole: Whole = field(default_factory=Whole, init=False)

    def add(self, text: str | None) -> str:
        """Note a piece of text and return what there is to say of it, as it can be kept: half a character waits for the other."""
        said = self._whole.take(text) if text else ""
        if said:
            self.texts.append(said)
        return said

    def reply(self) -> Reply:
        """Return the whole. Raises StreamCut if the model never said that it was done, ProviderRefused if it was filtered."""
        text, model = "".join(self.texts), self.request.model
        if not self.finish:
            raise StreamCut(f"The stream of {model} ended before the model was done.")
        if self.finish == FILTERED and not text:
            raise ProviderRefused(f"{model} refused to answer this request.", remedy="Change the request.")
        usage = self.usage or Usage(input=count_messages(self.request.messages), output=count_tokens(text))
        return Reply(text=text, model=model, usage=usage, finish=self.finish, estimated=self.usage is None)
