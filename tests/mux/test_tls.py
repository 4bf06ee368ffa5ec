"""Certificates and contexts: what is accepted, what a reload does."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from appliance.mux.tls import Policy, Tls, TlsError
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


# What is asked of clients.


def test_only_ciphers_with_forward_secrecy_and_authentication_are_offered(tmp_path: Path) -> None:
    names = [each["name"] for each in Tls(*make_certificate(tmp_path)).context.get_ciphers()]
    older = [name for name in names if not name.startswith("TLS_")]
    assert older and all(name.startswith("ECDHE-") and ("GCM" in name or "POLY1305" in name) for name in older)


def test_the_minimum_version_and_the_ciphers_are_those_of_the_policy(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path)
    assert Tls(*pair, Policy(minimum_version="1.3")).context.minimum_version is ssl.TLSVersion.TLSv1_3
    narrow = Tls(*pair, Policy(ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")).context
    assert [each["name"] for each in narrow.get_ciphers() if not each["name"].startswith("TLS_")] == [
        "ECDHE-ECDSA-AES256-GCM-SHA384"
    ]
    with pytest.raises(TlsError, match=r"tls\.ciphers"):
        Tls(*pair, Policy(ciphers="ROT13"))


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_an_authority_for_clients_that_can_not_be_used_is_refused(tmp_path: Path, content: bytes | None) -> None:
    authority = tmp_path / "authority.pem"
    if content is not None:
        authority.write_bytes(content)
    with pytest.raises(TlsError, match="authority"):
        Tls(*make_certificate(tmp_path), Policy(client_certificates="required", client_authority=authority))


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """One connection in memory, a few bytes each way: the client's side. Raises ssl.SSLError where either refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[str] = set()
    while len(done) < 4:
        for side, name in ((one, "client"), (other, "server")):
            try:
                if name not in done:
                    side.do_handshake()
                    done.add(name)
                elif name + " data" not in done:
                    # Tickets and refusals of TLS 1.3 come with the first data.
                    side.write(b"x")
                    side.read(1)
                    done.add(name + " data")
            except ssl.SSLWantReadError:
                continue
    return one


def trusting(certificate: Path, own: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificate)
    if own is not None:
        context.load_cert_chain(*own)
    return context


def test_a_client_has_to_show_a_certificate_of_the_authority_where_it_is_required(tmp_path: Path) -> None:
    pair, ours, others = (make_certificate(tmp_path, name) for name in ("localhost", "client", "stranger"))
    required = Tls(*pair, Policy(client_certificates="required", client_authority=ours[0])).context
    handshake(required, trusting(pair[0], ours))
    for wrong in (None, others):
        with pytest.raises(ssl.SSLError):
            handshake(required, trusting(pair[0], wrong))
    optional = Tls(*pair, Policy(client_certificates="optional", client_authority=ours[0])).context
    handshake(optional, trusting(pair[0], ours))
    handshake(optional, trusting(pair[0]))
    with pytest.raises(ssl.SSLError):
        handshake(optional, trusting(pair[0], others))


def test_a_session_from_before_a_reload_is_not_resumed(tmp_path: Path) -> None:
    pair, ours = make_certificate(tmp_path), make_certificate(tmp_path, "client")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        tls, client = Tls(*pair), trusting(pair[0], ours)
        client.maximum_version = version
        session = handshake(tls.context, client).session
        assert handshake(tls.context, client, session).session_reused, "the same context knows it"
        tls.reload()
        assert not handshake(tls.context, client, session).session_reused
        tls.adopt(Tls(*pair, Policy(client_certificates="required", client_authority=ours[0])))
        assert not handshake(tls.context, client, session).session_reused


def test_a_change_of_any_file_is_seen_once(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    authority = make_certificate(tmp_path, "client")[0]
    tls = Tls(certificate, key, Policy(client_certificates="optional", client_authority=authority))
    assert not tls.changed()
    for path in (certificate, key, authority):
        content = path.read_bytes()
        path.unlink()
        assert tls.changed()
        path.write_bytes(content)
        tls.reload()
        assert not tls.changed()
    certificate.write_bytes(b"garbage")
    with pytest.raises(TlsError):
        tls.reload()
    assert not tls.changed(), "the same bad file is reported once"
