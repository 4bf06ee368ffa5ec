"""Certificates and contexts: what is accepted, what a reload does."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from appliance.mux.tls import Tls, TlsError
from tests.mux.certificates import make_certificate


def test_the_context_is_tls_1_2_or_newer_without_renegotiation_or_compression(tmp_path: Path) -> None:
    context = Tls(*make_certificate(tmp_path)).context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_the_days_left_are_those_of_the_certificate_in_use(tmp_path: Path) -> None:
    tls = Tls(*make_certificate(tmp_path, days=10))
    assert 9.9 < tls.days_left(datetime.now(UTC)) <= 10


def test_a_reload_swaps_the_pair(tmp_path: Path) -> None:
    tls = Tls(*make_certificate(tmp_path, days=10))
    before = tls.context
    make_certificate(tmp_path, days=20)
    tls.reload()
    assert tls.context is not before and tls.days_left(datetime.now(UTC)) > 19


@pytest.mark.parametrize("damage", ["other key", "no certificate", "garbage", "empty", "expired", "encrypted key"])
def test_bad_new_files_keep_the_old_pair(tmp_path: Path, damage: str) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = Tls(certificate, key)
    before, expires_at = tls.context, tls.expires_at
    if damage == "other key":
        key.write_bytes(make_certificate(tmp_path, "other")[1].read_bytes())
    elif damage == "no certificate":
        certificate.unlink()
    elif damage == "expired":
        make_certificate(tmp_path, days=-1)
    elif damage == "encrypted key":
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"secret")
        key.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    else:
        certificate.write_bytes(b"garbage" if damage == "garbage" else b"")
    with pytest.raises(TlsError) as caught:
        tls.reload()
    assert str(tmp_path) in str(caught.value)
    assert tls.context is before and tls.expires_at == expires_at
