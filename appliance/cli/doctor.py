"""`codeq doctor`: look for what will make a node slow, unsafe, or stop, and say what to do about it.

Owns what is good and what is not, and the remedies. It changes nothing, and looks beside a running node as well.
"""

import argparse
import datetime
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography import x509

from appliance.cli import probes, status
from appliance.cli.config import problems
from appliance.cli.installed import service_environ
from appliance.cli.progress import size
from appliance.cli.selfmade import FOLDER
from appliance.config import ConfigError, Settings, load
from appliance.engine import datafile
from appliance.engine.disk import filesystem_of, free_bytes, holder, is_remote
from appliance.engine.faults import StoreError
from appliance.engine.store import MAP_BYTES

FLUSH_SLOW_MS: Final = 10.0
"""Each commit waits for one: at this much a single client gets at most a hundred answers a second."""
FLUSH_STALL_MS: Final = 200.0
FLUSH_FREE_MS: Final = 0.02
"""No disk or flash is that fast: something acknowledges flushes and keeps them in memory."""
CERTIFICATE_DAYS: Final = 14
SPARE_FILES: Final = 100
"""What a node opens beside its connections."""
GROWTH_FLOORS: Final = 2
"""Free space below so many floors is worth a word before creates are refused."""

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look gave, and what to do about it unless it is ok."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 0 where all is well, 1 where something should be done."""
    well = True
    for finding in examine(arguments.config, arguments.directory):
        well = well and finding.level == "ok"
        if arguments.json:
            print(json.dumps(asdict(finding)))
            continue
        print(f"{finding.level:<7}  {finding.check:<14}  {finding.found}")
        if finding.remedy:
            print(f"{'':<25}{finding.remedy}")
    return status.OK if well else status.FAILURE


def examine(config: str, directory: Path | None) -> Iterator[Finding]:
    """All looks, one after the other. With a `directory` no configuration is read."""
    settings = Settings()
    if directory is None:
        loaded = _configuration(config)
        if isinstance(loaded, Finding):
            yield loaded
            yield _clock(probes.clock_is_synchronized())
            yield _address_space(given=probes.address_space(MAP_BYTES))
            return
        settings = loaded
        yield from _named_files(config, settings)
        yield from _certificate(settings)
    place = directory or Path(settings.store.directory)
    yield from _store(place, settings)
    yield _clock(probes.clock_is_synchronized())
    yield _address_space(given=probes.address_space(MAP_BYTES))
    yield _open_files(holder(place), settings.limits.connections)


def _configuration(path: str) -> Settings | Finding:
    try:
        return load(path, service_environ(os.environ))
    except ConfigError as error:
        remedy = "correct it; as root while the service runs, its credentials are found; or give --directory"
        return Finding("configuration", "error", str(error), remedy)


def _named_files(path: str, settings: Settings) -> Iterator[Finding]:
    wrong = problems(settings)
    for problem in wrong:
        yield Finding("configuration", "error", problem, f"correct it, then `codeq config check --config {path}`")
    if not wrong:
        yield Finding("configuration", "ok", f"{path} can be used")


def _certificate(settings: Settings) -> Iterator[Finding]:
    made = Path(settings.store.directory) / FOLDER
    certificate = Path(settings.tls.certificate) if settings.tls.certificate else made / "server.pem"
    key = Path(settings.tls.key) if settings.tls.key else made / "server-key.pem"
    try:
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except FileNotFoundError:
        if not settings.tls.certificate:
            yield Finding("certificate", "ok", "none is configured; a start makes what it needs")
        return
    except (OSError, ValueError) as error:
        yield Finding("certificate", "error", f"{certificate}: {error}", "put a readable certificate in PEM form there")
        return
    yield judge_certificate(certificate, (ends - datetime.datetime.now(datetime.UTC)).total_seconds() / 86_400)
    try:
        mode = key.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        yield Finding("certificate", "warning", f"{key} can be read or changed by others", f"chmod 600 {key}")


def judge_certificate(path: Path, days: float) -> Finding:
    """Whether a certificate lasts long enough."""
    if days <= 0:
        return Finding("certificate", "error", f"{path} has ended", "renew it; the node takes the new one by itself")
    found = f"{path} ends in {days:,.0f} days"
    if days < CERTIFICATE_DAYS:
        return Finding("certificate", "warning", found, "renew it; the node takes the new one by itself")
    return Finding("certificate", "ok", found)


def _store(directory: Path, settings: Settings) -> Iterator[Finding]:
    if not directory.is_dir():
        yield Finding("store", "warning", f"there is no {directory} yet", "a node makes it at its first start")
        return
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("store", "error", f"{directory} is not for this user", "run this as the node's user or as root")
        return
    kind = filesystem_of(directory)
    yield from _file(directory)
    yield judge_filesystem(directory, kind, allowed=settings.store.allow_remote_filesystem)
    try:
        yield judge_flush(probes.flush(directory), kind)
    except OSError as error:
        yield Finding("disk sync", "error", f"{directory} can't be written: {error.strerror}", "see the kernel's log")
    yield judge_space(free_bytes(directory), settings.store.free_floor_bytes)


def _file(directory: Path) -> Iterator[Finding]:
    path = directory / datafile.DATA_NAME
    if not path.exists():
        yield Finding("store", "ok", f"{directory} is empty")
        return
    try:
        head = datafile.inspect(path)
    except StoreError as error:
        yield Finding("store", "error", str(error), "look at the disk, run `codeq check`, restore a backup")
        return
    pid = holder(directory)
    who = f"process {pid} has it" if pid else "no node has it"
    used = head.bytes_expected / MAP_BYTES
    found = f"{path}: {size(head.bytes_expected)}, {used:.1%} of the largest map; {who}"
    if used > 0.8:
        yield Finding("store", "warning", found, "shorten the retention, or move tenants to another node")
        return
    yield Finding("store", "ok", found)


def judge_filesystem(directory: Path, kind: str, *, allowed: bool) -> Finding:
    """Whether a store may lie on such a file system."""
    found = f"{directory} is on {kind or 'an unknown file system'}"
    if kind in ("tmpfs", "ramfs"):
        return Finding("file system", "error", f"{found}, which is memory", "put the store on a disk")
    if is_remote(kind):
        level: Level = "warning" if allowed else "error"
        return Finding("file system", level, f"{found}, which is remote", "put the store on a local disk")
    return Finding("file system", "ok", found)


def judge_flush(measured: probes.Flush, kind: str) -> Finding:
    """Whether the disk is fast enough, and not faster than disks are."""
    found = f"{measured.median_ms:.2f} ms median, {measured.worst_ms:.1f} ms worst of {probes.FLUSHES}"
    if measured.median_ms < FLUSH_FREE_MS and kind not in ("tmpfs", "ramfs"):
        remedy = "find out what acknowledges flushes before they are on disk: a cache, a hypervisor, a mount option"
        return Finding("disk sync", "warning", f"{found}: too fast to be true", remedy)
    if measured.median_ms > FLUSH_SLOW_MS:
        remedy = "use a disk with a faster flush (flash, or a controller with a battery), not shared with other writers"
        return Finding("disk sync", "warning", found, remedy)
    if measured.worst_ms > FLUSH_STALL_MS:
        remedy = "find out who else writes to this disk; run this again when the machine is quiet"
        return Finding("disk sync", "warning", found, remedy)
    return Finding("disk sync", "ok", found)


def judge_space(free: int, floor_bytes: int) -> Finding:
    """Whether there is room, against the floor below which creates are refused."""
    found = f"{size(free)} free, creates are refused below {size(floor_bytes)}"
    remedy = "make room, enlarge the disk, or shorten the retention; the data file itself never shrinks"
    if free < floor_bytes:
        return Finding("free space", "error", found, remedy)
    if free < GROWTH_FLOORS * floor_bytes:
        return Finding("free space", "warning", found, remedy)
    return Finding("free space", "ok", found)


def _clock(synchronized: bool | None) -> Finding:
    if synchronized is None:
        return Finding("clock", "ok", "the system does not say whether it is synchronized")
    if not synchronized:
        remedy = "run time synchronisation (systemd-timesyncd, chrony): tokens and `runAt` go by the wall clock"
        return Finding("clock", "warning", "nothing keeps the clock right", remedy)
    return Finding("clock", "ok", "it is synchronized")


def _address_space(*, given: bool) -> Finding:
    if not given:
        remedy = "lift `ulimit -v` (LimitAS=): it is address space, not memory; a smaller map bounds the store"
        return Finding("map size", "warning", f"the system refuses {size(MAP_BYTES)} of address space", remedy)
    return Finding("map size", "ok", f"{size(MAP_BYTES)} of address space can be had")


def _open_files(pid: int, connections: int) -> Finding:
    try:
        limit = probes.open_files_max(pid)
    except (OSError, ValueError):
        pid, limit = 0, probes.open_files_max(0)
    whose = f"process {pid}" if pid else "a process started from here"
    wanted = connections + SPARE_FILES
    found = f"{whose} may open {limit:,} files, {connections:,} connections want {wanted:,}"
    if limit < wanted:
        return Finding("open files", "warning", found, "raise LimitNOFILE= or `ulimit -n`, or lower limits.connections")
    return Finding("open files", "ok", found)
