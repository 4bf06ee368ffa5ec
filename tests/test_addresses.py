"""Which addresses a node may call."""

import pytest

from appliance.addresses import is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "ff02::1", "::ffff:8.8.8.8",
        "::ffff:127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "2001:db8::1",
        "", "localhost", "2130706433", "0x7f.1", "127.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::1"])
def test_an_address_of_the_public_internet_is_told(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "2130706433", "0x7f.1", "127.1", "::ffff:127.0.0.1"])
def test_every_spelling_of_loopback_is_refused_after_resolution(host: str) -> None:
    with pytest.raises(OSError):
        resolve(host, 443, allow_private=False)


def test_loopback_is_allowed_where_configured() -> None:
    assert resolve("127.0.0.1", 443, allow_private=True) == ["127.0.0.1"]
