"""Which URLs are called at all, by their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.webhooks.target import URL_CHARS_MAX, BadTarget, Target, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("HTTP://Example.COM:8080/Hook?a=B%20c", Target("http", "example.com", 8080, "/Hook?a=B%20c")),
        ("https://example.com?x", Target("https", "example.com", 443, "/?x")),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/")),
        ("https://[2606:4700:4700:0::1111]:1/", Target("https", "2606:4700:4700::1111", 1, "/")),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
        ("https://under_score.example/user@host/%2f", Target("https", "under_score.example", 443, "/user@host/%2f")),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target) -> None:
    assert parse_target(url, allow_private=False) == target


BAD = [
    "", "example.com", "ftp://example.com/", "https:/example.com", "https:///path", "https://", "javascript:alert(1)",
    "http://2130706433/", "http://0x7f.1/", "http://0x7f000001/", "http://017700000001/", "http://127.1/",
    "http://0177.0.0.1/", "http://1.2.3.4.5/", "http://1.2.3.256/", "http://8.8.8.08/", "http://example.0x1/",
    "http://example.com./", "http://localhost./", "http://127.0.0.1./", "http://.example.com/", "http://a..b/",
    "http://user@example.com/", "http://user:secret@example.com/", "http://@example.com/", "http://a@b@example.com/",
    "http://example.com%2F@evil.example/", "http://exa%6Dple.com/", "http://127.0.0.1%2f.example.com/",
    "http://example.com/#part", "http://example.com#@evil.example/", "http://example.com\\@evil.example/",
    "http://exam\tple.com/", "http://example.com/\r\nHost: x", "http://example.com/ x", " http://example.com/",
    "http://example.com/\n", "http://bücher.example/", "http://ⓔxample.com/", "http://example。com/",
    "http://example.com/ü", "http://example.com:0/", "http://example.com:65536/", "http://example.com:99999/",
    "http://example.com:/", "http://example.com:8o/", "http://example.com:-1/", "http://[::1/", "http://::1/",
    "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[1.2.3.4]/", "http://[::g]/", "http://-a.example/",
    "http://a-.example/", "http://" + "a" * 64 + ".example/", "http://" + "a." * 127 + "aa/",
    "http://example.com/" + "a" * URL_CHARS_MAX,
]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_plain_url_is_refused_even_where_private_targets_are_allowed(url: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(url, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1",
        "192.0.0.9", "192.168.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "[::]", "[::1]",
        "[fc00::1]", "[fe80::1]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:8.8.8.8]", "[::127.0.0.1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_unless_allowed(host: str) -> None:
    with pytest.raises(BadTarget, match="private"):
        parse_target(f"http://{host}/", allow_private=False)
    assert parse_target(f"http://{host}/", allow_private=True).is_address


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://", "http://example.com"]))
def test_any_text_is_a_target_or_refused(text: str, start: str) -> None:
    try:
        target = parse_target(start + text, allow_private=True)
    except BadTarget:
        return
    assert target.scheme in ("http", "https") and 0 < target.port < 65_536
    whole = target.host + target.path
    assert whole.isascii() and whole.isprintable() and " " not in whole and target.path.startswith("/")
