"""A stand-in of Amazon's services: moto's server, in a thread of this process, asked over HTTP like the real ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "simulated", "AWS_SECRET_ACCESS_KEY": "simulated", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "simulated"


@contextmanager
def serving() -> Iterator[str]:
    """Serve S3 and Glue on a free port, with one bucket, and yield the address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        with client("s3", address) as s3:
            s3.create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.stop()


@contextmanager
def client(service: str, address: str) -> Iterator[Any]:
    """Yield a client of the stand-in and close it."""
    made = boto3.session.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    ).client(service, endpoint_url=address)
    try:
        yield made
    finally:
        made.close()
