"""Where an AWS service is, and the headers that prove who calls it, by botocore's own chain and signer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from agents.domain.errors import ProviderRefused, ProviderUnavailable


class AwsAccess:
    """Access to one service. Without an API key, requests are signed with what the usual chain of credentials finds.

    That chain reads files and may ask other machines, so whatever of it can wait runs
    beside the loop, in one thread at a time. `region` and `endpoint` override what it says.
    """

    def __init__(self, service: str, *, signing_name: str, region: str = "", endpoint: str = "", api_key: str = "") -> None:
        self._service = service
        self._signing_name = signing_name
        self._region = region
        self._endpoint = endpoint.rstrip("/")
        self._api_key = api_key
        self._one_at_a_time = asyncio.Lock()
        self._found: Any = None

    async def endpoint(self) -> str:
        """Return the service's address. Raises ProviderRefused if no region is known."""
        return self._endpoint or f"https://{self._service}.{await self._known_region()}.amazonaws.com"

    async def headers(self, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers and those that authorize a POST of them. Raises ProviderRefused if there are no credentials."""
        if self._api_key:
            return {**headers, "authorization": f"Bearer {self._api_key}"}
        await self._known_region()
        return self._signed(await self._credentials(), url, body, headers)

    async def _known_region(self) -> str:
        self._region = self._region or str(await self._beside(self._look_for_region) or "")
        if not self._region:
            raise ProviderRefused("No AWS region is known.", remedy="Set MODEL_REGION, or AWS_DEFAULT_REGION.")
        return self._region

    async def _credentials(self) -> Any:
        """Return frozen credentials. They are looked for once and refreshed when it is time."""
        self._found = self._found or await self._beside(self._look)
        if self._found is None:
            raise ProviderRefused("No AWS credentials were found.", remedy="Give AWS's usual credentials, or MODEL_API_KEY.")
        if getattr(self._found, "refresh_needed", bool)():
            return await self._beside(self._found.get_frozen_credentials)
        return self._found.get_frozen_credentials()

    def _signed(self, credentials: Any, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest(method="POST", url=url, data=body, headers=dict(headers))
        SigV4Auth(credentials, self._signing_name, self._region).add_auth(request)
        return dict(request.headers.items())

    @cached_property
    def _session(self) -> Any:
        from botocore.session import Session  # noqa: PLC0415  (a third of a second to import)

        return Session()

    def _look(self) -> Any:
        return self._session.get_credentials()

    def _look_for_region(self) -> Any:
        return self._session.get_config_variable("region")

    async def _beside(self, work: Callable[[], Any]) -> Any:
        async with self._one_at_a_time:
            return await asyncio.to_thread(_told, work)


def _told(work: Callable[[], Any]) -> Any:
    """Do the work and tell its failure in our words."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    try:
        return work()
    except BotoCoreError as error:
        raise ProviderUnavailable(f"AWS's configuration or credentials could not be read: {error}") from error
