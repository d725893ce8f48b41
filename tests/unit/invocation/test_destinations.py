"""Where webhooks may go: the public internet, by https, whatever clothes an address wears."""

from __future__ import annotations

import pytest

from invocation.domain.destinations import ANYWHERE, LONGEST_URL, PUBLIC, check_url, is_public
from invocation.domain.errors import UrlRefused

CLOSED = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "",
    "localhost",
    "127.1",
    "0x7f.1",
    "2130706433",
    "010.0.0.1",
]
OPEN = ["1.1.1.1", "8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "169.253.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
TRANSLATED = ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_the_public_internet_is_closed(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OPEN + TRANSLATED)
def test_the_public_internet_is_open(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/a/b?token=x%20y",
        "https://HOOKS.example.com:443/",
        "https://hooks.example.com:8443/",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:4443/",
    ],
)
def test_a_sound_url_is_taken(url: str) -> None:
    check_url(url, reach=PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "gopher://hooks.example.com/",
        "https://",
        "https:///path",
        "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/",
        "https://hooks.example.com@127.0.0.1/",
        "https://hooks.example.com#there",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:80/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:port/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com/ HTTP/1.1",
        "https://hooks.example.com/\r\nx: y",
        "https://hooks.exämple.com/",
        "https://ⓛocalhost/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://169.254.169.254/latest",
        "https://hooks..example.com/",
        "https://hooks_example.com,evil/",
        f"https://{'a' * 64}.example/",
        "https://hooks.example.com/" + "a" * LONGEST_URL,
    ],
)
def test_a_url_that_leads_elsewhere_is_refused_and_says_why(url: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_url(url, reach=PUBLIC)

    assert refused.value.facts["field"] == "/url"
    assert len(refused.value.facts["found"]) <= 200


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/hook", "http://localhost/", "https://[::1]:8443/", "http://hooks"])
def test_development_also_reaches_this_machine(url: str) -> None:
    check_url(url, reach=ANYWHERE)
    assert ANYWHERE.allows("127.0.0.1")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://127.0.0.1:22/"])
def test_development_refuses_what_is_no_webhook(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, reach=ANYWHERE)
