"""The development authority."""

import datetime
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from appliance.cli import pki
from tests.auth.makers import STRANGER_EC, pem

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem")


def ensure(folder: Path, now: datetime.datetime = NOW) -> tuple[bytes, ...]:
    ca, ca_key, certificate, key = (folder / name for name in NAMES)
    pki.ensure_server_certificate(ca, ca_key, certificate, key, now)
    return tuple((folder / name).read_bytes() for name in NAMES)


def test_the_server_certificate_is_for_this_machine_and_signed_by_the_authority(tmp_path: Path) -> None:
    ca, _, certificate, _ = ensure(tmp_path)
    server = x509.load_pem_x509_certificate(certificate)
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert addresses == [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    ensure(tmp_path)
    pki.ensure_key_pair(tmp_path / "t-key.pem", tmp_path / "t.pub")
    for name in ("ca-key.pem", "server-key.pem", "t-key.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 6, "nothing temporary is left"


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    assert ensure(tmp_path) == ensure(tmp_path, NOW + datetime.timedelta(days=334))


def test_a_server_certificate_that_is_about_to_end_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    before = ensure(tmp_path)
    after = ensure(tmp_path, NOW + datetime.timedelta(days=336))
    assert before[:2] == after[:2]
    assert before[2] != after[2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_what_is_missing_or_broken_is_made_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    ensure(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ca, _, certificate, _ = ensure(tmp_path)
    server = x509.load_pem_x509_certificate(certificate)
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))


@pytest.mark.parametrize("name", ["ca-key.pem", "server-key.pem"])
def test_a_key_that_does_not_belong_to_its_certificate_is_replaced(tmp_path: Path, name: str) -> None:
    ensure(tmp_path)
    (tmp_path / name).write_bytes(pem(STRANGER_EC))
    contents = dict(zip(NAMES, ensure(tmp_path), strict=True))
    assert contents[name] != pem(STRANGER_EC)
    certificate = x509.load_pem_x509_certificate(contents[name.replace("-key", "")])
    assert certificate.public_key() == load_pem_private_key(contents[name], password=None).public_key()


def test_a_key_pair_is_kept_and_its_public_half_restored(tmp_path: Path) -> None:
    private, public = tmp_path / "k.pem", tmp_path / "k.pub"
    pki.ensure_key_pair(private, public)
    before = private.read_bytes(), public.read_bytes()
    public.unlink()
    pki.ensure_key_pair(private, public)
    assert (private.read_bytes(), public.read_bytes()) == before


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    pki.write_private(path, b"old")

    def broken(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("os.fchmod", broken)
    with pytest.raises(OSError):
        pki.write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_flushed_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, seen = os.fsync, []

    def watched(descriptor: int) -> None:
        flush(descriptor)
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "key.pem").exists()))

    monkeypatch.setattr(os, "fsync", watched)
    pki.write_private(tmp_path / "key.pem", b"content")
    assert seen[0] == (False, False)
    assert set(seen[1:]) == {(True, True)}
