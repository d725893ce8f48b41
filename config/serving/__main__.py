"""`python -m config.serving -b HOST -p PORT`: a web process; daphne's own options apply."""

from config.serving.command import WebCommand

WebCommand.entrypoint()
