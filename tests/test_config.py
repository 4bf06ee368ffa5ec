"""Settings from YAML and the environment, and the errors that name the key and the line."""

import contextlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config import ConfigError, KeySource, Listen, Settings, load
from appliance.configfile import camel, setting_paths, unknown_variables, variable

EXAMPLE = Path(__file__).parent.parent / "docs" / "codeq.example.yml"

MINIMAL = """\
tls: {certificate: c.pem, key: k.pem}
auth:
  producer: [{algorithm: ES256, file: p.pub}]
  worker: [{algorithm: ES256, file: w.pub}]
"""


def loaded(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "codeq.yml"
    path.write_text(text)
    return load(path, environ)


def error(folder: Path, text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **environ)
    return caught.value


def uncommented(text: str) -> str:
    """The example with every setting that it shows switched on; prose has exactly one space after its #."""
    return re.sub(r"(?m)^(\s*)#(?=\S|  \S)", r"\1", text)


def test_the_example_loads_and_shows_the_defaults(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    example = loaded(tmp_path, text)
    assert loaded(tmp_path, uncommented(text)) == example
    assert replace(example, tls=Settings().tls, auth=Settings().auth, source="") == Settings()
    assert replace(example.auth, producer=(), worker=()) == Settings().auth


def test_the_example_shows_every_setting() -> None:
    text = uncommented(EXAMPLE.read_text())
    for path in setting_paths(Settings):
        indent = "  " * (len(path) - 1)
        assert re.search(rf"(?m)^{indent}{camel(path[-1])}:", text), ".".join(map(camel, path))


def test_a_minimal_file_has_the_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path, MINIMAL)
    assert settings.listen == (Listen("0.0.0.0:8443"),)
    assert settings.tasks == Settings().tasks
    assert settings.source == str(tmp_path / "codeq.yml")


def test_relative_paths_count_from_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, MINIMAL + "store: {directory: data}\n", CODEQ_TLS_KEY="/abs/k.pem")
    assert settings.store.directory == str(tmp_path / "data")
    assert settings.tls.key == "/abs/k.pem"
    assert settings.auth.producer[0].file == str(tmp_path / "p.pub")


def test_every_section_can_be_set(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        MINIMAL
        + """\
listen:
  - "[::1]:0"
  - {address: "127.0.0.1:8080", plaintext: true}
allowPlaintext: true
tasks:
  payloadBytesMax: 1_000
  backoff: {policy: fixed, baseSeconds: 1, capSeconds: 1}
limits:
log: {format: text, level: debug}
drainSeconds: 0
""",
    )
    assert settings.listen == (Listen("[::1]:0"), Listen("127.0.0.1:8080", plaintext=True))
    assert (settings.listen[0].host, settings.listen[0].port, settings.listen[1].port) == ("::1", 0, 8_080)
    assert settings.tasks.payload_bytes_max == 1_000
    assert (settings.tasks.backoff.policy, settings.log.format, settings.drain_seconds) == ("fixed", "text", 0)


@pytest.mark.parametrize(
    ("text", "key", "line", "words"),
    [
        ("tasks:\n  maxAttempts: 0\n", "tasks.maxAttempts", 2, "1 to 1000"),
        ("tasks:\n  maxAttempts: 1001\n", "tasks.maxAttempts", 2, "1 to 1000"),
        ("tasks:\n  maxAttempts: five\n", "tasks.maxAttempts", 2, "whole number"),
        ('tasks:\n  maxAttempts: "5"\n', "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: 5.0\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: 0x5\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: 010\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: 1:30\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: " + "9" * 5_000 + "\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts:\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttempts: [5]\n", "tasks.maxAttempts", 2, "whole number"),
        ("tasks:\n  maxAttemps: 5\n", "tasks.maxAttemps", 2, "not a setting"),
        ("tasks:\n  max_attempts: 5\n", "tasks.max_attempts", 2, "not a setting"),
        ("tasks:\n  source: 5\n", "tasks.source", 2, "not a setting"),
        ("source: x\n", "source", 1, "not a setting"),
        ("tasks:\n  maxAttempts: 5\n  maxAttempts: 6\n", "tasks.maxAttempts", 3, "twice"),
        ("tasks:\n  ? [a]\n  : 5\n", "tasks.?", 2, "not a setting"),
        ("tasks:\n  <<: {maxAttempts: 5}\n", "tasks.<<", 2, "not a setting"),
        ("tasks: 5\n", "tasks", 1, "mapping"),
        ("tasks: [5]\n", "tasks", 1, "mapping"),
        ("tasks:\n  payloadBytesMax: 2097153\n", "tasks.payloadBytesMax", 2, "2097152"),
        ("tasks:\n  backoff:\n    policy: random\n", "tasks.backoff.policy", 3, "exp_full_jitter"),
        ("tasks:\n  backoff:\n    baseSeconds: 901\n", "tasks.backoff.capSeconds", 2, "baseSeconds"),
        ("allowPlaintext: yes\n", "allowPlaintext", 1, "true or false"),
        ("log:\n\n  format: xml\n", "log.format", 3, "json, text"),
        ("store:\n  directory: 5\n", "store.directory", 2, "string"),
        ('store:\n  directory: "a\\0b"\n', "store.directory", 2, "NUL"),
        ("store:\n  directory: " + "x" * 5_000 + "\n", "store.directory", 2, "4096"),
        ("listen: 0.0.0.0:1\n", "listen", 1, "list"),
        ("listen: []\n", "listen", 1, "at least one"),
        ("listen:\n  - localhost\n", "listen[0]", 2, "host:port"),
        ("listen:\n  - a:1\n  - a:65536\n", "listen[1]", 3, "host:port"),
        ("listen:\n  - a:-1\n", "listen[0]", 2, "host:port"),
        ("listen:\n  - :1\n", "listen[0]", 2, "host:port"),
        ("listen:\n  - ::1:80\n", "listen[0]", 2, "brackets"),
        ("listen:\n  - {plaintext: true}\n", "listen[0].address", 2, "missing"),
        ("listen:\n  - {address: a:1, plaintext: true}\n", "listen[0]", 2, "allowPlaintext"),
        ("listen: [" + "a:1," * 65 + "]\n", "listen", 1, "64"),
        ("limits:\n  memoryBytesMax: 16777215\n", "limits.memoryBytesMax", 2, "16777216"),
        ("limits:\n  bodyBytesMax: 67108864\n  memoryBytesMax: 67108864\n", "limits.memoryBytesMax", 3, "twice"),
        ("limits:\n  bodyBytesMax: 65536\n", "limits.bodyBytesMax", 2, "payloadBytesMax"),
        ("drainSeconds: -1\n", "drainSeconds", 1, "0 to 3600"),
    ],
)
def test_an_error_names_the_key_and_the_line(tmp_path: Path, text: str, key: str, line: int, words: str) -> None:
    found = error(tmp_path, text + MINIMAL)
    assert (found.key, found.line) == (key, line)
    assert words in found.message
    assert str(found).startswith(f"{tmp_path}/codeq.yml:{line}: {key}: ")


@pytest.mark.parametrize(
    ("producer", "place", "words"),
    [
        ("[]", "auth.producer", "at least one"),
        ("[{}]", "auth.producer[0]", "exactly one"),
        ("[{file: a, secret: b, algorithm: HS256}]", "auth.producer[0]", "exactly one"),
        ("[{file: a}]", "auth.producer[0]", "algorithm"),
        ("[{file: a, algorithm: none}]", "auth.producer[0].algorithm", "RS256, ES256, EdDSA, HS256"),
        ("[{secret: a, algorithm: RS256}]", "auth.producer[0]", "HS256"),
        ("[{pem: a, algorithm: HS256}]", "auth.producer[0]", "public key"),
        ("[{jwksFile: a, algorithm: RS256}]", "auth.producer[0]", "JWKS"),
        ("[{jwksUrl: a}]", "auth.producer[0].jwksUrl", "https"),
        ('[{jwksUrl: "http://a"}]', "auth.producer[0].jwksUrl", "https"),
        ("[{file: a, algorithm: ES256, kid: " + "k" * 129 + "}]", "auth.producer[0].kid", "128"),
        ("[a]", "auth.producer[0]", "mapping"),
    ],
)
def test_a_key_source_that_makes_no_sense_is_an_error(tmp_path: Path, producer: str, place: str, words: str) -> None:
    text = MINIMAL.replace("[{algorithm: ES256, file: p.pub}]", producer)
    found = error(tmp_path, text)
    assert (found.key, found.line) == (place, 3)
    assert words in found.message


def test_tls_needs_a_pair_or_nothing(tmp_path: Path) -> None:
    without = MINIMAL.partition("\n")[2]
    assert error(tmp_path, without + "tls:\n  key: k.pem\n").line == 4
    assert not loaded(tmp_path, without).tls.certificate


def test_keys_of_one_kind_only_are_an_error(tmp_path: Path) -> None:
    assert error(tmp_path, "auth: {worker: [{algorithm: ES256, file: w.pub}]}").key == "auth.producer"
    assert error(tmp_path, "auth: {producer: [{algorithm: ES256, file: p.pub}]}").key == "auth.worker"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2\n", 2),
        ("a: b: c\n", 1),
        ("a: 1\n--- \nb: 2\n", 2),
        ("\n\tx: 1\n", 2),
        ("a: *nowhere\n", 1),
        ("- a\n", 0),
    ],
)
def test_a_file_that_is_no_single_mapping_is_an_error(tmp_path: Path, text: str, line: int) -> None:
    assert error(tmp_path, text).line == line


@pytest.mark.parametrize(
    "text", ["x: " + "[" * 2_000, "{" * 2_000, "x:\n" + "".join(" " * n + "- \n" for n in range(30))]
)
def test_a_file_that_is_nested_too_deep_is_refused_where_it_becomes_so(tmp_path: Path, text: str) -> None:
    found = error(tmp_path, text)
    assert "is nested deeper than 20 levels" in str(found) and found.line == (20 if text.startswith("x:\n") else 1)


def test_an_empty_file_is_a_configuration(tmp_path: Path) -> None:
    assert replace(loaded(tmp_path, ""), source="") == Settings()


def test_a_file_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError):
            load(path, {})
    bad = tmp_path / "bad.yml"
    bad.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load(bad, {})
    assert caught.value.line == 2


def test_no_object_is_made_from_a_tag(tmp_path: Path) -> None:
    found = error(tmp_path, 'store: {directory: !!python/object/apply:os.system ["false"]}\n' + MINIMAL)
    assert found.key == "store.directory"


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        MINIMAL + "log: {format: text}\n",
        CODEQ_LOG_FORMAT="json",
        CODEQ_LOG_LEVEL="",
        CODEQ_STORE_DIRECTORY="123",
        CODEQ_STORE_FREE_FLOOR_BYTES="5",
        CODEQ_ALLOW_PLAINTEXT="true",
        CODEQ_LISTEN='["a:1", {address: "b:2", plaintext: true}]',
        CODEQ_TASKS="{maxAttempts: 7, maxDeliveries: 8}",
        CODEQ_TASKS_MAX_DELIVERIES="9",
        CODEQ_AUTH_PRODUCER="[{algorithm: HS256, secret: abc}]",
    )
    assert (settings.log.format, settings.store.directory, settings.store.free_floor_bytes) == (
        "json",
        f"{tmp_path}/123",
        5,
    )
    assert settings.listen == (Listen("a:1"), Listen("b:2", plaintext=True))
    assert (settings.tasks.max_attempts, settings.tasks.max_deliveries) == (7, 9)
    assert settings.auth.producer == (KeySource(algorithm="HS256", secret="abc"),)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("CODEQ_DRAIN_SECONDS", "soon", "drainSeconds"),
        ("CODEQ_LOG_FORMAT", "xml", "log.format"),
        ("CODEQ_LISTEN", "[", "listen"),
        ("CODEQ_LISTEN", "[a]", "listen[0]"),
        ("CODEQ_TASKS", "{maxAttempts: 0}", "tasks.maxAttempts"),
        ("CODEQ_TASKS", "{maxAttemps: 1}", "tasks.maxAttemps"),
        ("CODEQ_TASKS", "{backoff: {policy: x}}", "tasks.backoff.policy"),
        ("CODEQ_TASKS_BACKOFF", "{baseSeconds: 901}", "tasks.backoff.capSeconds"),
        ("CODEQ_LISTEN", '["a:1", {plaintext: true}]', "listen[1].address"),
        ("CODEQ_AUTH_WORKER", "[{secret: x}]", "auth.worker[0]"),
    ],
)
def test_an_error_of_the_environment_names_the_variable(tmp_path: Path, name: str, value: str, key: str) -> None:
    found = error(tmp_path, MINIMAL, **{name: value})
    assert (found.key, found.source, name in str(found)) == (key, name, True)


def test_each_setting_has_a_variable_of_its_own() -> None:
    names = Counter(variable(path) for path in setting_paths(Settings))
    assert names.most_common(1)[0][1] == 1
    assert "CODEQ_TASKS_BACKOFF_BASE_SECONDS" in names


def test_variables_that_name_no_setting_are_told() -> None:
    environ = {"CODEQ_LOG_LEVEL": "info", "CODEQ_LOG_LEVL": "info", "CODEQ_PORT": "x", "HOME": "/"}
    assert unknown_variables(Settings, environ) == ["CODEQ_LOG_LEVL", "CODEQ_PORT"]


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    text = MINIMAL.replace("file: p.pub", "pem: s3cret")
    assert "s3cret" not in repr(loaded(tmp_path, text))
    assert "s3cret" not in str(error(tmp_path, MINIMAL.replace("file: p.pub", "secret: s3cret")))


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_settings_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ConfigError):
        assert isinstance(load(path, {}), Settings)


def test_a_credential_is_a_file_in_the_folder_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "codeq.tls.key").write_text("x")
    text = "tls: {certificate: server.pem, key: 'credential:codeq.tls.key'}\n" + MINIMAL.partition("\n")[2]
    file = tmp_path / "codeq.yml"
    file.write_text(text)
    settings = load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.tls.key == str(tmp_path / "codeq.tls.key")
    with pytest.raises(ConfigError, match=r"codeq\.yml:1: tls\.key: .*CREDENTIALS_DIRECTORY is not set"):
        load(file, {})


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../codeq.yml", "absent", "a b", "x" * 256])
def test_a_credential_that_is_not_there_or_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "codeq.yml"
    file.write_text(f"tls: {{certificate: a, key: 'credential:{name}'}}\n" + MINIMAL.partition("\n")[2])
    with pytest.raises(ConfigError, match=r"tls\.key"):
        load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
