"""A node: its parts put together, started, reloaded, drained and stopped.

Owns the order of start and stop, signals, the collector's policy and the exit status. `run` is the start-up order. It
must not know how any part works.
"""

import asyncio
import datetime
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import uvloop

from appliance import __version__, allocator, live, wiring
from appliance import log as logs
from appliance.api.admin.render import NodeJson
from appliance.api.app import Api
from appliance.api.canonical import same_json, same_request
from appliance.api.rates import Rates
from appliance.api.streams.app import Streams
from appliance.api.times import time_text
from appliance.auth.keys import BadKeyError
from appliance.auth.ring import KeyRing
from appliance.auth.service import Authenticator
from appliance.cli import status
from appliance.config import ConfigError, Settings
from appliance.driver import Driver
from appliance.engine import crashpoints
from appliance.engine.crashpoints import reach
from appliance.engine.faults import StoreError
from appliance.engine.rows import DamagedRow
from appliance.engine.store import FORMAT_VERSION, Store
from appliance.engine.tables import LAPSED, POST
from appliance.metrics import Metrics, Sources, WebhookFigures
from appliance.mux.listener import Listener, bind
from appliance.mux.tls import Tls, TlsError, load_tls
from appliance.scrape import Scrape
from appliance.service.activation import ActivationError, Passed
from appliance.service.beat import Beat
from appliance.service.manager import Manager
from appliance.tasks import table
from appliance.tasks.moves import Timings
from appliance.version import package_version
from appliance.webhooks.secrets import BadSecretError
from appliance.webhooks.service import Means, Outbound

log = logging.getLogger("codeq.app")

SWITCH_SECONDS = 20e-6
"""The committer gets the interpreter back within this beside a busy loop; the default of 5 ms starves it."""

GC_THRESHOLDS = (50_000, 50, 1_000_000)
"""Hot paths make no cycles, so the young generations are looked at rarely and the old one only in idle moments."""

IDLE_COLLECT_SECONDS = 60.0
"""At most this often an idle node collects everything."""

START_STAGE_SECONDS = 60.0
"""How long each stage of a start may take before the service manager gives it up."""

STOP_SLACK_SECONDS = 15.0
"""After the drain: the last commit, and closing the store."""

DURABILITY = "fsync"
"""What stands behind an answer: the group is on this node's disk."""

HOUSEKEEPING_SECONDS = 0.02
CERTIFICATE_LOOK_SECONDS = 5.0


class Node:
    """One running node. Everything in here happens on the loop's thread."""

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        keys: Authenticator,
        tls: Tls | None,
        manager: Manager,
        reread: Callable[[], Settings] | None,
        means: Means,
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._manager = manager
        self._loop = loop
        self._store = store
        self._keys = keys
        self._ready = False
        self._ports: set[int] = set()
        self._stopping = asyncio.Event()
        self._exit_status = status.OK
        self._collected_at = self._started_at = loop.time()
        self._started_ms = time.time_ns() // 1_000_000
        self.metrics = Metrics()
        self._scrape = Scrape(self._render_metrics, time.perf_counter)
        self.driver = Driver(
            loop,
            store,
            wiring.task_settings(settings),
            Random(int.from_bytes(os.urandom(16), "big")),
            same_json=same_json,
            same_request=same_request,
            timings=Timings(
                self.metrics.wait.observe_all, self.metrics.run.observe_all, self.metrics.total.observe_all
            ),
            on_fatal=self._fatal,
            on_group=self.metrics.group_committed,
            free_floor_bytes=settings.store.free_floor_bytes,
        )
        rates = Rates(
            wiring.rates(settings),
            lambda tenant: self.driver.scheduler.tasks.registry.control_of(tenant),
            self.driver.now_ms,
        )
        self._api = Api(
            self.driver.scheduler,
            keys,
            wiring.api_settings(settings),
            clock=self.driver.now_ms,
            epoch_seconds=time.time,
            metrics_text=lambda: (self._scrape.text(),),
            ready=lambda: self._ready,
            node_facts=self._facts,
            rates=rates,
        )
        self._tls = tls
        self._listener = Listener(
            loop=loop, handler=self._api.handle, limits=wiring.limits(settings), observer=self.metrics, tls=self._tls
        )
        self._listener.hub.pace = self.driver
        self._listener.hub.open_call = Streams(
            self.driver.scheduler,
            keys,
            wiring.stream_settings(settings),
            clock=self.driver.now_ms,
            epoch_seconds=time.time,
            later=self._later,
            rng=Random(int.from_bytes(os.urandom(16), "big")),
            rates=rates,
        ).open_call
        self._outbound = Outbound(
            loop,
            self.driver.scheduler,
            settings.webhooks,
            means,
            own_ports=lambda: self._ports,
            clock=self.driver.now_ms,
            version=package_version(),
        )
        self.metrics.sources = self._sources()
        self._beat = Beat(loop, manager.notifier, self.driver.pulse, self._status_line)

    async def run(self) -> int:
        """Serve until told to stop; the exit status."""
        reach(crashpoints.LOADED)
        for sock, plaintext in self._manager.sockets or _bound(self._settings):
            self._listener.add_socket(sock, plaintext)
            self._ports.add(sock.getsockname()[1])
            fields = {"plaintext": plaintext, "passed": bool(self._manager.sockets)}
            log.info("listening on %s", _address(sock.getsockname()), extra=fields)
        reach(crashpoints.LISTENING)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._loop.call_later(HOUSEKEEPING_SECONDS, self._keep_house, self._loop.time() + HOUSEKEEPING_SECONDS)
        if self._tls is not None:
            self._loop.call_later(CERTIFICATE_LOOK_SECONDS, self._look_at_certificate)
        self._ready = True
        self._manager.notifier.ready()
        self._beat.start()
        log.info("ready")
        reach(crashpoints.READY)
        await self._stopping.wait()
        self._ready = False
        reach(crashpoints.DRAINING)
        self._beat.stop()
        self._manager.notifier.stopping(self._settings.drain_seconds + STOP_SLACK_SECONDS)
        if self._exit_status == status.OK:
            log.info("draining for at most %d seconds", self._settings.drain_seconds)
            self._manager.notifier.status(f"draining for at most {self._settings.drain_seconds} seconds")
            await self._listener.drain(self._settings.drain_seconds)
        reach(crashpoints.DRAINED)
        self._outbound.stop()
        self.driver.stop()
        reach(crashpoints.STOPPED)
        log.info("stopped", extra={"exitStatus": self._exit_status})
        return self._exit_status

    def _status_line(self) -> str:
        accepts = self.driver.scheduler.accepts_creates
        return f"serving {len(self._listener)} connections" + ("" if accepts else "; creates refused, the disk is full")

    def _later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(seconds, call).cancel

    def _fatal(self, error: StoreError) -> None:
        log.critical("the node stops: %s", error)
        self._exit_status = error.exit_status
        self._stopping.set()

    def _reload(self) -> None:
        self._manager.notifier.reloading()
        reach(crashpoints.RELOADING)
        if self._reread is None or not self._reload_configuration(self._reread):
            self._reload_certificate()
        reach(crashpoints.RELOADED)
        self._manager.notifier.ready()

    def _reload_configuration(self, reread: Callable[[], Settings]) -> bool:
        """Apply what can change of a configuration read anew: all of it, or nothing and False."""
        try:
            new = reread()
            ring = KeyRing(new.auth) if new.auth != self._settings.auth else None
            tls = load_tls(new.tls) if self._tls is not None and new.tls.certificate else None
        except (ConfigError, StoreError, BadKeyError, TlsError, OSError, ValueError) as error:
            log.error("the configuration was not reloaded, the old one stays: %s", error)
            return False
        keys = live.changed(self._settings, new)
        if ring is not None:
            self._keys.reconfigure(new.auth, ring)
        if self._tls is not None and tls is not None:
            self._tls.adopt(tls)
            self._say_certificate(self._tls)
        logs.set_level(new.log.level)
        self.driver.free_floor_bytes = new.store.free_floor_bytes
        self._settings = live.applied(self._settings, new)
        log.info("configuration reloaded", extra={"changed": " ".join(key for key in keys if live.is_live(key))})
        waiting = [key for key in keys if not live.is_live(key)]
        if waiting:
            log.warning("these settings changed and need a restart: %s", ", ".join(waiting))
        return True

    def _reload_certificate(self) -> None:
        if self._tls is None:
            return
        try:
            self._tls.reload()
        except TlsError as error:
            log.error("the certificate was not reloaded, the old one stays: %s", error)
        else:
            self._say_certificate(self._tls)

    def _say_certificate(self, tls: Tls) -> None:
        log.info("certificate reloaded", extra={"daysLeft": round(_days_left(tls), 1)})

    def _look_at_certificate(self) -> None:
        if self._tls is not None and self._tls.changed():
            self._reload_certificate()
        self._loop.call_later(CERTIFICATE_LOOK_SECONDS, self._look_at_certificate)

    def _keep_house(self, due: float) -> None:
        """Notice how late the loop is, and collect garbage when there is nothing else to do."""
        now = self._loop.time()
        self.metrics.loop_delayed((now - due) * 1000)
        if now - self._collected_at > IDLE_COLLECT_SECONDS and self.driver.idle:
            self._collected_at = now
            gc.collect()
            now = self._loop.time()
        self._loop.call_at(now + HOUSEKEEPING_SECONDS, self._keep_house, now + HOUSEKEEPING_SECONDS)

    def _render_metrics(self) -> bytes:
        edges = dict(zip((edge[1:4] for edge in table.EDGES), self.driver.scheduler.edge_counts(), strict=True))
        self.metrics.count_edges(edges)
        return self.metrics.render()

    def _facts(self) -> NodeJson:
        return NodeJson(
            node_id=socket.gethostname(),
            version=__version__,
            format_version=FORMAT_VERSION,
            started_at=time_text(self._started_ms),
            uptime_seconds=round(self._loop.time() - self._started_at, 3),
            durability=DURABILITY,
            store_bytes=self._store.stats().used_bytes,
            free_bytes=self.driver.free_bytes,
            certificate_days_left=None if self._tls is None else round(_days_left(self._tls), 1),
        )

    def _sources(self) -> Sources:
        scheduler, store, keys = self.driver.scheduler, self._store, self._keys

        def depths() -> Iterable[tuple[str, str, dict[str, int]]]:
            for queue in scheduler.tasks.registry.by_prefix.values():
                yield queue.tenant.name, queue.command, queue.counts

        def sweep_lag_seconds() -> float:
            now = self.driver.now_ms()
            oldest = scheduler.tasks.retention.oldest_due(now)
            return 0.0 if oldest is None else (now - oldest) / 1000

        def oldest_ready_seconds() -> float:
            return scheduler.reads.oldest_ready_ms(self.driver.now_ms()) / 1000

        def webhooks() -> WebhookFigures:
            now = self.driver.now_ms()
            figures, outbox = self._outbound.courier.figures, scheduler.tasks.outbox
            times = (self._outbound.courier.oldest_at(), outbox.post.oldest_due(now))
            oldest = min((at for at in times if at is not None), default=now)
            return WebhookFigures(
                sent=figures.sent,
                failed=figures.failed,
                given_up=figures.given_up,
                refused=figures.refused,
                notified=figures.notified,
                notifications_failed=figures.notifications_failed,
                subscriptions=len(scheduler.tasks.subscriptions),
                waiting=store.entries(POST),
                lapsed=store.entries(LAPSED),
                under_way=self._outbound.courier.lanes.under_way,
                lag_seconds=max(0, now - oldest) / 1000,
            )

        tls = self._tls
        return Sources(
            depths=depths,
            oldest_ready_seconds=oldest_ready_seconds,
            transitions=lambda: zip((edge.name for edge in table.EDGES), scheduler.edge_counts(), strict=True),
            store_used_bytes=lambda: store.stats().used_bytes,
            store_free_bytes=lambda: self.driver.free_bytes,
            readers_in_use=lambda: store.stats().readers,
            sweep_lag_seconds=sweep_lag_seconds,
            clock_jumps=lambda: self.driver.clock.jumps,
            certificate_days_left=None if tls is None else lambda: _days_left(tls),
            tokens_cached=lambda: keys.cache_size,
            token_verifications=lambda: keys.verifications,
            token_refusals=lambda: keys.refusals,
            token_foreign_keys=lambda: keys.foreign_keys,
            tokens_throttled=lambda: keys.throttled,
            webhooks=webhooks,
            buffered_bytes=lambda: self._listener.hub.memory.used_bytes,
        )


def run(settings: Settings, reread: Callable[[], Settings] | None = None) -> int:
    """Run a node with these settings until it is told to stop; the exit status (see `cli.status`).

    A reload calls `reread` for the configuration as it is now; without it only the certificate is read again.
    """
    # Where the watchdog or a fault of the machine ends the process, the log has what every thread was doing.
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_SECONDS)
    allocator.keep_freed_memory()
    try:
        logs.configure(settings.log.format, settings.log.level)
        manager = Manager.taken_from(os.environ, os.getpid())
        _check_passed(manager.sockets, settings)
        keys = Authenticator(settings.auth)
        tls = load_tls(settings.tls) if settings.tls.certificate else None
        means = Means(settings.webhooks)
    except (ActivationError, BadKeyError, BadSecretError, TlsError) as error:
        log.critical("%s", error)
        return status.CONFIGURATION
    except OSError as error:
        log.critical("webhooks.caFile: %s can't be used: %s", settings.webhooks.ca_file, error.strerror or error)
        return status.CONFIGURATION
    manager.notifier.extend(START_STAGE_SECONDS, "opening the store")
    try:
        store = Store.open(Path(settings.store.directory), allow_remote=settings.store.allow_remote_filesystem)
    except StoreError as error:
        log.critical("%s", error)
        return error.exit_status
    try:
        manager.notifier.extend(START_STAGE_SECONDS, "reading queues and deadlines")
        keys.start()
        return uvloop.run(_serve(settings, store, keys, tls, manager, reread, means))
    except StoreError as error:
        log.critical("%s", error)
        return error.exit_status
    except DamagedRow as damage:
        log.critical("%s; run `codeq check`", damage)
        return status.DISK_NOT_TRUSTED
    except OSError as error:
        log.critical("%s", error)
        return status.TRY_AGAIN
    finally:
        keys.stop()
        store.close()
        manager.notifier.close()


async def _serve(
    settings: Settings,
    store: Store,
    keys: Authenticator,
    tls: Tls | None,
    manager: Manager,
    reread: Callable[[], Settings] | None,
    means: Means,
) -> int:
    return await Node(settings, asyncio.get_running_loop(), store, keys, tls, manager, reread, means).run()


def _check_passed(sockets: Iterable[Passed], settings: Settings) -> None:
    """The rules for `listen`, applied to sockets that take its place."""
    for _, plaintext in sockets:
        if plaintext and not settings.allow_plaintext:
            raise ActivationError("a socket for plaintext was passed, which needs allowPlaintext: true")
        if not plaintext and not settings.tls.certificate:
            raise ActivationError("a socket for TLS was passed, which needs tls: a certificate and a key")


def _bound(settings: Settings) -> Iterator[Passed]:
    for listen in settings.listen:
        for sock in bind(listen.host, listen.port):
            yield Passed(sock, listen.plaintext)


def _days_left(tls: Tls) -> float:
    return tls.days_left(datetime.datetime.now(datetime.UTC))


def _address(name: tuple[str, int]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
