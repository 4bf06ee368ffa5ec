"""What is shown of the package and the units in a booted Debian, one function each, in the order of an operator's life.

Owns the steps. Each takes the Context, says in its first line what it shows, returns what it saw, and raises Failed. A
step leaves the node running, with the configuration of `Context.configure()` and nothing more.
"""

import datetime
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from appliance.cli import pki
from tests.systemd.machine import Machine
from tests.systemd.stream import WorkerStream
from tests.systemd.test_units import documented, network_drop_in
from tests.systemd.traffic import HOST, Node, Traffic

HERE: Final = Path(__file__).parent
CONFIGURATION: Final = HERE.parents[1] / "docs" / "configuration.md"
END: Final = "-----END CERTIFICATE-----\n"
PORT: Final = 8443
DRAIN_SECONDS: Final = 5
WATCHDOG_SECONDS: Final = 3
PKI: Final = "/var/lib/codeq/pki"
RESTARTS: Final = 3
HASTY_STARTS: Final = 10


class Failed(Exception):
    """A step did not see what it should."""


class Context:
    """What steps share: the container, the packages, how long a load lasts, and the node once it is there."""

    def __init__(self, machine: Machine, package: Path, older: Path, seconds: int) -> None:
        self.machine = machine
        self.package = package
        self.older = older
        self.seconds = seconds
        self.root = machine.root
        self._node: Node | None = None
        self.accounts: list[Traffic] = []
        """All traffic so far: what was acknowledged has to be there to the end."""

    @property
    def node(self) -> Node:
        """The node, from the first start on."""
        assert self._node is not None
        return self._node

    def found(self, node: Node) -> None:
        """Keep how the node is reached."""
        self._node = node

    def install(self, package: Path) -> None:
        """Install a package as a user would, without a network."""
        shutil.copy(package, self.root / "root" / "codeq.deb")
        self.machine.shell("apt-get install --yes --no-install-recommends /root/codeq.deb", seconds=300)

    def systemctl(self, *words: str, check: bool = True, seconds: float = 120.0) -> str:
        """One command of systemctl: what it printed."""
        return self.machine.run("systemctl", *words, check=check, seconds=seconds).stdout.strip()

    def shown(self, name: str, unit: str = "codeq.service") -> str:
        """One property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def configure(self, more: str = "") -> None:
        """Write the configuration: a short drain, no floor for the disk, and `more`."""
        text = f"drainSeconds: {DRAIN_SECONDS}\nstore: {{freeFloorBytes: 0}}\n{more}"
        (self.root / "etc/codeq/codeq.yml").write_text(text)

    def drop_in(self, text: str) -> None:
        """Replace the drop-in of these tests; empty text takes it away."""
        folder = self.root / "etc/systemd/system/codeq.service.d"
        shutil.rmtree(folder, ignore_errors=True)
        if text:
            folder.mkdir(parents=True)
            (folder / "test.conf").write_text(text)
        self.systemctl("daemon-reload")

    def traffic(self, name: str, **counts: int) -> Traffic:
        """Traffic to run with `with`, kept for the last step."""
        made = Traffic(self.node, name, **counts)
        self.accounts.append(made)
        return made

    def journal(self, *words: str) -> str:
        """The node's log."""
        return self.machine.run("journalctl", "--no-pager", "-u", "codeq", "-o", "cat", *words).stdout

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float = 30.0) -> float:
        """Wait until it is so; how long it took. Raises Failed."""
        began = time.monotonic()
        while not is_so():
            expect(time.monotonic() - began < seconds, f"{what}, within {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic() - began

    def restarts(self) -> int:
        """How often systemd has started the service again by itself."""
        return int(self.shown("NRestarts"))


def expect(is_so: bool, what: str) -> None:
    """Raises Failed where it is not so."""
    if not is_so:
        raise Failed(f"expected: {what}")


def install_and_start(context: Context) -> str:
    """install, start, and a task by curl over TLS with the lines that the log prints"""
    context.install(context.older)
    expect(context.systemctl("is-active", "codeq", check=False) == "inactive", "nothing is started by an install")
    context.configure()
    began = time.monotonic()
    context.systemctl("start", "codeq")
    took_seconds = time.monotonic() - began
    log = context.journal()
    tokens = {}
    for kind in ("producer", "worker"):
        lines = re.findall(rf"make a {kind}'s token with: (codeq .*)", log)
        expect(bool(lines), f"a line in the journal about a {kind}'s token")
        tokens[kind] = context.machine.shell(lines[-1].replace("TENANT", "acme").replace("NAME", f"{kind}-1")).strip()
    expect(f"clients trust {PKI}/ca.pem" in log, "a line in the journal about the authority")
    url = f"https://{HOST}:{PORT}/v1/codeq/tasks"
    curl = f"curl -sS --fail --cacert {PKI}/ca.pem {url} -H 'Content-Type: application/json'"
    body = '{"command": "greet", "payload": 1}'
    answer = context.machine.shell(f"{curl} -H 'Authorization: Bearer {tokens['producer']}' -d '{body}'")
    expect(json.loads(answer)["status"] == "PENDING", f"a task, not {answer}")
    authority = (context.root / PKI[1:] / "ca.pem").read_text()
    context.found(Node(PORT, authority, tokens["producer"], tokens["worker"]))
    return f"systemctl start took {took_seconds:.1f} s, {context.shown('StatusText')}"


def log_in_the_journal(context: Context) -> str:
    """log lines with priorities and fields"""
    lines = context.machine.run("journalctl", "-u", "codeq", "-o", "json", "SYSLOG_IDENTIFIER=codeq").stdout
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    listening = next((each for each in entries if each["MESSAGE"].startswith("listening on")), {})
    expect(listening.get("CODEQ_PLAINTEXT") == "False", "a field CODEQ_PLAINTEXT with the listening address")
    expect(all(each["PRIORITY"] == "6" for each in entries), "priority 6, info, on every line of a good start")
    return f"{len(entries)} lines"


def upgrade(context: Context) -> str:
    """upgrade over an older build while clients create: data stays, nothing acknowledged is lost"""
    versions = [_version(context)]
    with context.traffic("upgrade") as traffic:
        traffic.wait_for(50)
        pid = context.shown("MainPID")
        context.install(context.package)
        traffic.wait_for(50)
    expect(context.shown("MainPID") != pid, "the upgrade has restarted the node")
    expect(not traffic.lost(), f"nothing lost: {traffic.lost()[:5]}")
    versions.append(_version(context))
    return f"{' to '.join(versions)}; {traffic.account()}"


def exposure(context: Context) -> str:
    """exposure as the running systemd sees it"""
    text = context.machine.run("systemd-analyze", "security", "--no-pager", "codeq.service").stdout
    match = re.search(r"Overall exposure level for codeq.service: ([0-9.]+)", text)
    expect(match is not None and float(match[1]) <= 1.1, f"at most 1.1: {text[-200:]}")
    assert match is not None
    return match[1]


def restart_under_load(context: Context) -> str:
    """restarts under load with codeq.socket: no connection refused, nothing acknowledged lost"""
    context.systemctl("stop", "codeq")
    context.systemctl("enable", "--now", "codeq.socket")
    context.systemctl("start", "codeq")
    expect("passed=True" in context.journal("-n", "50"), "the node serves the socket of systemd")
    restarts = []
    with context.traffic("restart", producers=4, knockers=3) as traffic:
        for _ in range(RESTARTS):
            traffic.wait_for(100)
            began = time.monotonic()
            context.systemctl("restart", "codeq")
            restarts.append(time.monotonic() - began)
        traffic.wait_for(100)
    expect(traffic.refused == 0, f"no connection refused: {traffic.account()}")
    expect(not traffic.lost(), f"nothing lost: {traffic.lost()[:5]}")
    times = ", ".join(f"{seconds:.1f} s" for seconds in restarts)
    return f"{RESTARTS} restarts of {times}; {traffic.account()}"


def reload_keeps_streams(context: Context) -> str:
    """a renewal with the documented hook: a stream goes on, new connections get the new certificate"""
    _renewed(context)
    context.configure(documented(CONFIGURATION, "### Certificates that renew themselves", "tls: {certificate"))
    context.systemctl("reload", "codeq")
    before = _certificate()
    stream = WorkerStream(context.node, "reload")
    try:
        with context.traffic("reload") as traffic:
            traffic.wait_for(20)
            renewed = _renewed(context)
            expect(_certificate() == renewed != before, "the new certificate, as soon as the hook has ended")
            traffic.wait_for(20)
        expect(stream.alive, "the stream goes on")
        status, task = context.node.call("/tasks", {"command": "after-reload", "payload": None})
        expect(status == 201 and stream.task("after-reload") == task["id"], "a task comes over the stream of before")
        stream.complete(task["id"])
        expect(not traffic.troubles, f"no connection noticed: {traffic.account()}")
    finally:
        stream.close()
    return traffic.account()


def kill_and_back(context: Context) -> str:
    """kill -9: systemd brings it back, nothing acknowledged is lost"""
    count = context.restarts()
    with context.traffic("kill") as traffic:
        traffic.wait_for(50)
        began = time.monotonic()
        context.systemctl("kill", "--signal=KILL", "codeq.service")
        context.wait("a restart", lambda: context.restarts() == count + 1)
        context.wait("the node is back", lambda: context.shown("ActiveState") == "active")
        took_seconds = time.monotonic() - began
        traffic.wait_for(50)
    expect(not traffic.lost(), f"nothing lost: {traffic.lost()[:5]}")
    return f"back after {took_seconds:.1f} s; {traffic.account()}"


def stop_within_the_drain(context: Context) -> str:
    """a stop takes no longer than the drain, streams are told, and what was answered is there"""
    status, task = context.node.call("/tasks", {"command": "slow", "payload": None})
    expect(status == 201, "a task")
    holding, waiting = WorkerStream(context.node, "holding"), WorkerStream(context.node, "waiting")
    try:
        expect(holding.task("slow") == task["id"], "the stream has the task")
        waiting.ask("never")
        with context.traffic("stop") as traffic:
            traffic.wait_for(20)
            context.systemctl("stop", "codeq.service")
            ended = holding.end(), waiting.end()
            context.systemctl("start", "codeq.service")
            traffic.wait_for(20)
    finally:
        holding.close()
        waiting.close()
    lines = context.journal("-o", "json")
    draining, stopped = (_last_time(lines, word) for word in ("draining for", "stopped"))
    expect(ended == ("UNAVAILABLE", "UNAVAILABLE"), f"both streams end UNAVAILABLE, not {ended}")
    expect(stopped - draining <= DRAIN_SECONDS + 1, f"a drain of {DRAIN_SECONDS} s, not {stopped - draining:.1f} s")
    expect(not traffic.lost(), f"nothing lost: {traffic.lost()[:5]}")
    found = context.node.call(f"/tasks/{task['id']}/result", {"status": "COMPLETED"}, worker=True)
    expect(found[0] == 200, f"the lease survives the stop: {found}")
    return f"drained in {stopped - draining:.1f} of {DRAIN_SECONDS} s; {traffic.account()}"


def watchdog(context: Context) -> str:
    """the watchdog ends a node whose loop hangs, and one whose committer hangs, and systemd starts it again"""
    library = context.root / "usr/lib/codeq-hang.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(HERE / "hang.c"), "-ldl"]
    subprocess.run(command, check=True)
    context.drop_in(
        f"[Service]\nEnvironment=LD_PRELOAD=/usr/lib/codeq-hang.so\nWatchdogSec={WATCHDOG_SECONDS}\nTimeoutAbortSec=3\n"
    )
    context.systemctl("restart", "codeq")
    seen = []
    for part, words in (("loop", "Fatal Python error: Aborted"), ("sync", "the committer has been at one group")):
        count = context.restarts()
        with context.traffic(f"hang-{part}") as traffic:
            traffic.wait_for(30)
            began = time.monotonic()
            (context.root / f"var/lib/codeq/hang-{part}").touch()
            context.machine.shell(f"chown codeq: /var/lib/codeq/hang-{part}", check=False)
            context.wait("a restart by the watchdog", lambda count=count: context.restarts() > count)  # type: ignore[misc]
            context.wait("the node is back", lambda: context.shown("ActiveState") == "active")
            seen.append(f"{part}: back after {time.monotonic() - began:.1f} s")
            traffic.wait_for(30)
        expect(words in context.journal("-n", "300"), f"the log says: {words}")
        expect(context.restarts() == count + 1, "one restart was enough")
        expect(not traffic.lost(), f"nothing lost: {traffic.lost()[:5]}")
    text = context.machine.run("journalctl", "--no-pager", "-u", "codeq", "-n", "500").stdout
    expect(text.count("Watchdog timeout") >= 2, "systemd names the watchdog as the reason")
    context.drop_in("")
    library.unlink()
    context.systemctl("restart", "codeq")
    return f"WatchdogSec={WATCHDOG_SECONDS}; " + ", ".join(seen)


def stop_while_it_starts(context: Context) -> str:
    """a stop at any moment of a start, and a start right after"""
    context.systemctl("stop", "codeq.socket", "codeq.service")
    for number in range(HASTY_STARTS):
        context.systemctl("start", "--no-block", "codeq.service")
        time.sleep(number / HASTY_STARTS)
        context.systemctl("stop", "codeq.service")
        expect(context.shown("Result") == "success", f"a clean end after {number / HASTY_STARTS:.1f} s")
    context.systemctl("start", "codeq.socket", "codeq.service")
    with context.traffic("hasty") as traffic:
        traffic.wait_for(20)
    return f"{HASTY_STARTS} starts stopped within a second"


def wrong_owner(context: Context) -> str:
    """a directory that belongs to somebody else is put right by the start; a credential that is missing ends with 78"""
    context.systemctl("stop", "codeq.socket", "codeq.service")
    context.machine.shell("chown -R root: /var/lib/codeq; chmod 755 /var/lib/codeq")
    context.systemctl("start", "codeq.service")
    mode = context.machine.shell("stat -c '%U %a' /var/lib/codeq").strip()
    expect(mode == "codeq 700", f"codeq 700, not {mode}")
    context.systemctl("stop", "codeq.service")
    context.configure('tls: {certificate: "credential:codeq.tls.crt", key: "credential:codeq.tls.key"}\n')
    context.machine.run("systemctl", "start", "codeq.service", check=False)
    expect(context.shown("ExecMainStatus") == "78", f"78, not {context.shown('ExecMainStatus')}")
    expect("did not hand over: codeq.tls.crt" in context.journal("-n", "5"), "the log names the credential")
    context.configure()
    context.systemctl("reset-failed", "codeq.service")
    context.systemctl("start", "codeq.socket", "codeq.service")
    return "put right; 78"


def wrong_configuration(context: Context) -> str:
    """a wrong configuration ends with 78, is not started again, and does not hurt a reload"""
    context.configure("drainSecond: 1\n")
    context.systemctl("reload", "codeq")
    expect("the configuration was not reloaded" in context.journal("-n", "20"), "the reload says why")
    expect(context.shown("ActiveState") == "active", "the node goes on")
    context.machine.run("systemctl", "restart", "codeq", check=False)
    time.sleep(5)
    expect(context.shown("ExecMainStatus") == "78", f"78, not {context.shown('ExecMainStatus')}")
    expect(context.shown("ActiveState") == "failed" and context.restarts() == 0, "no restart by itself")
    context.configure()
    context.systemctl("reset-failed", "codeq.service", "codeq.socket")
    context.systemctl("start", "codeq.socket", "codeq.service")
    return "status 78 and no restart within 5 s"


def full_load_under_the_filter(context: Context) -> str:
    """full load, a reload, a backup and a stop under the filter of system calls, where a forbidden one would kill"""
    context.drop_in("[Service]\nSystemCallErrorNumber=kill\n")
    context.systemctl("restart", "codeq")
    pid = context.shown("MainPID")
    status = context.machine.shell(f"grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/{pid}/status")
    expect("Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status, f"filter and no capabilities: {status}")
    row = _bench(context)
    context.systemctl("reload", "codeq")
    context.systemctl("start", "codeq-backup.service", seconds=300)
    context.systemctl("restart", "codeq")
    expect("SIGSYS" not in context.machine.run("journalctl", "--no-pager", "-u", "codeq*").stdout, "no forbidden call")
    expect(context.restarts() == 0, "the node has lived through it")
    context.drop_in("")
    context.systemctl("restart", "codeq")
    return row


def backup(context: Context) -> str:
    """the backup unit leaves a checked copy, and its timer is there"""
    context.systemctl("start", "codeq-backup.service", seconds=300)
    context.systemctl("enable", "--now", "codeq-backup.timer")
    copies = context.machine.shell("ls -d /var/lib/codeq-backup/*/").split()
    expect(bool(copies), "a backup")
    done = context.machine.run("codeq", "check", "--directory", copies[-1].rstrip("/"))
    context.systemctl("disable", "--now", "codeq-backup.timer")
    return done.stdout.strip()


def credentials(context: Context) -> str:
    """a key that only root may read reaches the node as a credential"""
    context.machine.shell(
        "install -d -m 700 /etc/credstore\n"
        f"install -m 600 {PKI}/server.pem /etc/credstore/codeq.tls.crt\n"
        f"install -m 600 {PKI}/server-key.pem /etc/credstore/codeq.tls.key\n"
    )
    context.configure('tls: {certificate: "credential:codeq.tls.crt", key: "credential:codeq.tls.key"}\n')
    context.systemctl("restart", "codeq")
    context.machine.shell("CREDENTIALS_DIRECTORY=/etc/credstore codeq config check --config /etc/codeq/codeq.yml")
    expected = ssl.PEM_cert_to_DER_cert((context.root / PKI[1:] / "server.pem").read_text())
    expect(_certificate() == expected, "the certificate of the credential")
    context.machine.shell("rm -r /etc/credstore")
    context.configure()
    context.systemctl("restart", "codeq")
    return "served"


def without_a_network(context: Context) -> str:
    """the documented drop-in: no network but the passed port, and clients notice nothing"""
    context.drop_in(network_drop_in())
    context.systemctl("restart", "codeq")
    pid = context.shown("MainPID")
    interfaces = context.machine.shell(f"nsenter --target {pid} --net ip -brief link | cut -d' ' -f1").split()
    expect(interfaces == ["lo"], f"no interface but lo: {interfaces}")
    own, ours = (context.machine.shell(f"readlink /proc/{each}/ns/net") for each in (pid, "1"))
    expect(own != ours, "a network of its own")
    with context.traffic("alone") as traffic:
        traffic.wait_for(100)
    expect(not traffic.troubles and not traffic.lost(), f"no troubles: {traffic.account()}")
    text = context.machine.run("systemd-analyze", "security", "--no-pager", "codeq.service").stdout
    match = re.search(r"Overall exposure level for codeq.service: ([0-9.]+)", text)
    expect(match is not None and float(match[1]) <= 0.3, f"at most 0.3: {text[-200:]}")
    assert match is not None
    context.drop_in("")
    context.systemctl("restart", "codeq")
    probe = ["curl", "-sk", "--max-time", "3", f"https://{HOST}:{PORT}/healthz"]
    denied = context.machine.run("systemd-run", "--wait", "--quiet", "-p", "IPAddressDeny=any", *probe, check=False)
    enforced = "enforced" if denied.returncode else "NOT enforced by this kernel"
    return f"exposure {match[1]}, address lists {enforced}; {traffic.account()}"


def everything_is_there(context: Context) -> str:
    """everything that was ever acknowledged is there, and the store is clean"""
    lost = [each for traffic in context.accounts for each in traffic.lost()]
    expect(not lost, f"nothing lost: {lost[:5]}")
    context.systemctl("stop", "codeq.socket", "codeq.service")
    expect(context.shown("Result") == "success", f"a clean end, not {context.shown('Result')}")
    checked = context.machine.run("codeq", "check", "--directory", "/var/lib/codeq", seconds=300)
    expect("is clean" in checked.stdout, checked.stdout)
    creates = sum(len(traffic.created) for traffic in context.accounts)
    results = sum(len(traffic.completed) for traffic in context.accounts)
    return f"{creates:,} creates and {results:,} results"


def purge(context: Context) -> str:
    """a purge leaves nothing"""
    context.systemctl("start", "codeq.socket", "codeq.service")
    context.machine.shell("apt-get purge --yes codeq", seconds=300)
    places = "/etc /usr /var/lib /var/cache /run /lib/systemd"
    left = context.machine.shell(
        f"find {places} -xdev -iname '*codeq*' -not -path '/run/credentials/*' -not -path '/run/host*'"
    )
    expect(left == "", f"no file: {left}")
    expect(context.machine.shell("getent passwd codeq || true") == "", "no user")
    expect(context.systemctl("list-units", "--all", "--no-legend", "codeq*") == "", "no unit")
    return "no file, no user, no unit"


STEPS: Final[tuple[Callable[[Context], str], ...]] = (
    install_and_start,
    log_in_the_journal,
    upgrade,
    exposure,
    restart_under_load,
    reload_keeps_streams,
    kill_and_back,
    stop_within_the_drain,
    watchdog,
    stop_while_it_starts,
    wrong_owner,
    wrong_configuration,
    full_load_under_the_filter,
    backup,
    credentials,
    without_a_network,
    everything_is_there,
    purge,
)


def _renewed(context: Context) -> bytes:
    """Do what an ACME client does: put a new pair in its own place and run the documented hook. The certificate."""
    authority = context.root / PKI[1:]
    lineage = context.root / "etc/letsencrypt/live/node"
    shutil.rmtree(lineage, ignore_errors=True)
    lineage.mkdir(parents=True)
    chain, key = lineage / "fullchain.pem", lineage / "privkey.pem"
    now = datetime.datetime.now(datetime.UTC)
    pki.ensure_server_certificate(authority / "ca.pem", authority / "ca-key.pem", chain, key, now)
    hook = context.root / "root/hook"
    hook.write_text(documented(CONFIGURATION, "### Certificates that renew themselves", "#!/bin/sh"))
    context.machine.shell("RENEWED_LINEAGE=/etc/letsencrypt/live/node sh /root/hook")
    return ssl.PEM_cert_to_DER_cert(chain.read_text().partition("-----END CERTIFICATE-----")[0] + END)


def _version(context: Context) -> str:
    """The installed version of the package."""
    return context.machine.run("dpkg-query", "--show", "--showformat=${Version}", "codeq").stdout


def _certificate() -> bytes:
    """What a new connection is shown."""
    pem = ssl.get_server_certificate((HOST, PORT), timeout=10)
    return ssl.PEM_cert_to_DER_cert(pem)


def _last_time(journal: str, words: str) -> float:
    """When the last entry that begins so was written, in epoch seconds."""
    entries = (json.loads(line) for line in journal.splitlines())
    times = [int(each["__REALTIME_TIMESTAMP"]) / 1e6 for each in entries if str(each["MESSAGE"]).startswith(words)]
    expect(bool(times), f"a line about {words}")
    return times[-1]


def _bench(context: Context) -> str:
    """Tasks per second that `codeq bench` measures, from outside the container but within its network."""
    folder = context.root.parent
    for name, text in (
        ("ca.pem", context.node.authority),
        ("producer", context.node.producer),
        ("worker", context.node.worker),
    ):
        (folder / name).write_text(text)
    command = [
        sys.executable, "-m", "appliance.cli.main", "bench", "cycle", "--target", f"{HOST}:{PORT}", "--tls",
        "--ca", str(folder / "ca.pem"), "--producer-token-file", str(folder / "producer"),
        "--worker-token-file", str(folder / "worker"), "--seconds", str(context.seconds), "--warm-seconds", "2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=context.seconds + 120)
    expect(done.returncode == 0, f"the load runs: {done.stdout}{done.stderr}")
    rate = re.search(r"cycles\s+([0-9,]+)/s", done.stdout)
    expect(rate is not None and rate[1] != "0", f"a rate: {done.stdout}")
    assert rate is not None
    return f"{rate[1]} tasks a second created, claimed and completed"
