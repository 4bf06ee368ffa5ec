"""What the claims of a token mean."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.auth.caller import PRODUCER, WORKER, Caller, Kind
from appliance.auth.claims import TENANT_CLAIMS, Rules, TokenError, caller_of, decode_part, parse_object
from tests.auth.makers import NOW, claims, part

DAY = 86_400


def caller(kind: Kind = PRODUCER, rules: Rules | None = None, /, **changes: Any) -> Caller:
    return caller_of(claims(**changes), kind, rules or Rules(), NOW)


def test_a_producer_may_use_every_command_and_keeps_its_scopes() -> None:
    one = caller(eventTypes=["a"], scopes=["x"])
    assert (one.tenant, one.subject, one.kind, one.commands) == ("acme", "alice", PRODUCER, None)
    assert one.scopes == frozenset({"x"})
    assert one.expires == NOW + 3_600 + 60
    assert one.has_scope("x") and not one.has_scope("y")


def test_a_worker_without_event_types_may_claim_nothing() -> None:
    assert caller(WORKER).commands == frozenset()


def test_a_worker_may_claim_what_its_event_types_name_and_a_star_means_all() -> None:
    assert caller(WORKER, eventTypes=["a", "b"]).commands == frozenset({"a", "b"})
    assert caller(WORKER, eventTypes=["a", "*"]).commands is None


def test_scopes_and_scope_add_up() -> None:
    assert caller(WORKER, scopes=["a"], scope="b  c").scopes == {"a", "b", "c"}


@pytest.mark.parametrize("grant", [{"role": "ADMIN"}, {"scopes": ["codeq:admin"]}, {"scope": "codeq:admin"}])
def test_admin_comes_from_role_or_scope_of_producer_keys_only(grant: dict[str, Any]) -> None:
    assert caller(PRODUCER, **grant).admin and not caller(PRODUCER, **grant).operator
    assert not caller(WORKER, **grant).admin
    assert not caller(WORKER, **grant).has_scope("codeq:admin")


def test_operator_comes_from_producer_keys_only_and_implies_admin() -> None:
    assert caller(PRODUCER, scopes=["codeq:operator"]).operator
    assert caller(PRODUCER, scopes=["codeq:operator"]).admin
    assert not caller(WORKER, scopes=["codeq:operator"]).operator


@pytest.mark.parametrize("role", ["admin", "USER", "", 1, ["ADMIN"], True])
def test_no_other_role_makes_an_admin(role: object) -> None:
    assert not caller(role=role).admin


@pytest.mark.parametrize("name", TENANT_CLAIMS)
def test_each_tenant_claim_names_the_tenant(name: str) -> None:
    assert caller(**{"tenantId": None, name: "t"}).tenant == "t"


def test_without_a_tenant_claim_the_subject_is_the_tenant() -> None:
    assert caller(tenantId=None).tenant == "alice"


def test_tenant_claims_that_agree_are_one() -> None:
    assert caller(tid="acme", organization_id="acme").tenant == "acme"


BAD_NAMES = ["", 7, {}, ["x"], True, "a\0b", "a\nb", "\x7f", "\x85", "x" * 257, "ä" * 129, "\ud800"]


@pytest.mark.parametrize("name", ["sub", *TENANT_CLAIMS])
@pytest.mark.parametrize("value", BAD_NAMES)
def test_a_name_that_is_no_name_is_refused(name: str, value: object) -> None:
    with pytest.raises(TokenError):
        caller(**{"tenantId": None, name: value})


def test_a_null_tenant_claim_is_refused_and_not_overlooked() -> None:
    with pytest.raises(TokenError):
        caller_of({**claims(), "tid": None}, PRODUCER, Rules(), NOW)


def test_names_may_have_256_bytes() -> None:
    one = caller(sub="s" * 256, tenantId="ä" * 128)
    assert (len(one.subject), len(one.tenant.encode())) == (256, 256)


def test_tenant_claims_that_disagree_are_refused() -> None:
    with pytest.raises(TokenError, match="disagree"):
        caller(tid="other")


@pytest.mark.parametrize(
    "exp", [NOW - 61, NOW - 60, 0, -1, 10**400, -(10**400), 1e308, "1", None, True, [NOW], NOW + 3_661 * DAY + 61]
)
def test_an_exp_that_is_over_absurd_or_no_number_is_refused(exp: object) -> None:
    with pytest.raises(TokenError):
        caller(exp=exp)


@pytest.mark.parametrize("exp", [NOW - 59, NOW, NOW + 1.5, int(NOW) + 3_660 * DAY])
def test_an_exp_within_skew_and_lifetime_is_accepted(exp: float) -> None:
    assert caller(exp=exp).expires == exp + 60


@pytest.mark.parametrize("name", ["iat", "nbf"])
@pytest.mark.parametrize("value", [NOW + 61, "1", True, [], float("inf")])
def test_a_start_in_the_future_is_refused(name: str, value: object) -> None:
    with pytest.raises(TokenError):
        caller(**{name: value})


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_start_within_the_skew_is_accepted(name: str) -> None:
    assert caller(**{name: NOW + 60})


@pytest.mark.parametrize("value", [None, "other", ["node"], "nod", "node ", 1, {}])
def test_a_wrong_or_missing_issuer_is_refused_where_configured(value: object) -> None:
    assert caller(iss=value)
    with pytest.raises(TokenError):
        caller(PRODUCER, Rules(issuer="node"), iss=value)


@pytest.mark.parametrize("value", [None, "other", [], ["nod"], [["node"]], ["node", 1], {"node": 1}, 1])
def test_a_wrong_or_missing_audience_is_refused_where_configured(value: object) -> None:
    assert caller(aud=value)
    with pytest.raises(TokenError):
        caller(PRODUCER, Rules(audience="node"), aud=value)


def test_the_right_issuer_and_audience_are_accepted() -> None:
    rules = Rules(issuer="https://id", audience="node")
    assert caller(PRODUCER, rules, iss="https://id", aud="node")
    assert caller(PRODUCER, rules, iss="https://id", aud=["x", "node"])


@pytest.mark.parametrize("changes", [{"eventTypes": "a"}, {"eventTypes": [1]}, {"scopes": "a"}, {"scope": ["a"]}])
@pytest.mark.parametrize("kind", [PRODUCER, WORKER])
def test_lists_that_are_no_lists_of_strings_are_refused(kind: Kind, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        caller(kind, **changes)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"1", b"null", b'"x"', b"{", b'{"a":1}x', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}', b"[" * 8_000, b'{"a":' * 1_500, b"\xff", '{"a":1}'.encode("utf-16"), b"\xef\xbb\xbf{}",
        b'{"a":' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_json_that_is_no_object_with_unique_names_is_refused(raw: bytes) -> None:
    with pytest.raises(TokenError):
        parse_object(raw)


@pytest.mark.parametrize("text", ["a", "YQ==", "YR", "Y+", "Y/", "YQ\n", " YQ", "Y Q", "ä", "YQ=", "*"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(TokenError):
        decode_part(text)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_a_part_decodes_to_what_was_encoded(raw: bytes) -> None:
    assert decode_part(part(raw)) == raw


def test_a_refusal_repeats_nothing_of_the_token() -> None:
    for changes in ({"sub": "s3cret\n"}, {"tid": "s3cret"}, {"scope": ["s3cret"]}, {"exp": "s3cret"}):
        with pytest.raises(TokenError) as refused:
            caller(**changes)
        assert "s3cret" not in str(refused.value)
