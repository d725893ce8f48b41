"""`python -m config.serving -b HOST -p PORT`: a web process; daphne's own options apply."""

from config.serving import reactor

reactor.install()  # before anything of daphne's, which would put it on asyncio's own loop

from config.serving.command import WebCommand  # noqa: E402

WebCommand.entrypoint()
