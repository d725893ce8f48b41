"""`manage.py simulate_provider`: the offline model as a server of three protocols, for load tests and fault tests."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Serve the offline model as OpenAI, Anthropic and Bedrock would, with a pace, a limit and faults of your choice."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=9100, help="0 takes a free one and prints it")
        parser.add_argument(
            "--api-key", default="offline", help="what clients must prove to know: as Bearer, x-api-key, or access key id and secret"
        )
        parser.add_argument("--first-token-ms", type=float, default=200.0)
        parser.add_argument("--token-ms", type=float, default=20.0)
        parser.add_argument("--jitter", type=float, default=0.2, help="share by which a single pause varies")
        parser.add_argument("--capacity", type=int, default=64, help="open calls beyond which all slow down")
        parser.add_argument("--tpm", type=int, default=None, help="tokens in any minute; 429 above it")
        parser.add_argument("--fault-429", type=float, default=0.0, help="share of the calls, 0 to 1; so the next four")
        parser.add_argument("--fault-500", type=float, default=0.0)
        parser.add_argument("--fault-529", type=float, default=0.0)
        parser.add_argument("--fault-stall", type=float, default=0.0)
        parser.add_argument("--fault-cut", type=float, default=0.0)
        parser.add_argument("--retry-after-s", type=float, default=1.0, help="what a 429 says")
        parser.add_argument("--stall-s", type=float, default=600.0, help="how long a stalled stream is silent before it is cut")
        parser.add_argument("--seed", type=int, default=0, help="where the pattern of faults starts")

    def handle(self, *_: Any, **given: Any) -> None:
        import uvloop

        from agents.gateways.simulated_provider import serve

        try:
            provider = _provider(given)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve(provider, host=given["host"], port=given["port"], ready=self._say))
        except ValueError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Port {given['port']} cannot be served, choose another --port: {error}") from error

    def _say(self, base_url: str) -> None:
        self.stdout.write(f"listening on {base_url}")
        self.stdout.write(f"for MODEL_PROVIDER=bedrock: {base_url.removesuffix('/v1')}")
        self.stdout.flush()


def _provider(given: dict[str, Any]) -> Any:
    from agents.gateways.providers.faults import Faults
    from agents.gateways.providers.pacing import Pacing
    from agents.gateways.providers.simulator import OfflineSimulator
    from agents.gateways.simulated_provider import SimulatedProvider

    pacing = Pacing(
        first_token=timedelta(milliseconds=given["first_token_ms"]),
        per_token=timedelta(milliseconds=given["token_ms"]),
        jitter=given["jitter"],
        capacity=given["capacity"],
    )
    faults = Faults(
        rate_limit=given["fault_429"],
        error=given["fault_500"],
        stall=given["fault_stall"],
        cut=given["fault_cut"],
        overload=given["fault_529"],
        retry_after=timedelta(seconds=given["retry_after_s"]),
        markers=True,
        seed=given["seed"],
    )
    simulator = OfflineSimulator(pacing=pacing, faults=faults, stall_timeout=timedelta(seconds=given["stall_s"]))
    return SimulatedProvider(simulator, api_key=given["api_key"], tokens_per_minute=given["tpm"])
