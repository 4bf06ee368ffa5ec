"""The scripts that wrk runs: creates, claims, results, and whole cycles.

Owns Lua and the counters that a script leaves for `DONE`. Every thread of wrk has a Lua state of its own and does not
see connections, so a script keeps its state per thread and tells answers apart by what they are.
"""

from pathlib import Path
from typing import Final

import msgspec

PATH: Final = "/v1/codeq/tasks"
COMMAND: Final = "load"
LEASE_SECONDS: Final = 3_600
"""Longer than any run, so that no lease ends in one."""

DONE: Final = """
local threads = {}
local next_number = 0
function setup(thread)
  thread:set("number", next_number)
  next_number = next_number + 1
  table.insert(threads, thread)
end
function done(summary, latency, requests)
  local e, parts = summary.errors, {}
  for _, name in ipairs({"created", "claimed", "finished", "missed", "exhausted"}) do
    local sum = 0
    for _, thread in ipairs(threads) do sum = sum + (thread:get(name) or 0) end
    table.insert(parts, string.format('"%s":%d', name, sum))
  end
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"errors":%d,"counters":{%s}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, e.connect + e.read + e.write + e.status + e.timeout, table.concat(parts, ",")))
end
"""
"""Goes behind every script: numbers the threads, sums their counters, prints the line that is parsed."""

_UUIDS: Final = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long us; } moment; int gettimeofday(moment *, void *);")
local moment = ffi.new("moment")
local random = math.random
function init(args)
  ffi.C.gettimeofday(moment, nil)
  math.randomseed(tonumber(moment.us) * 64 + number)
  for _ = 1, 10 do random() end
end
local function uuid(head)
  return string.format("%s-%04x-8%03x-%06x%06x", head, random(0, 65535), random(0, 4095), random(0, 16777215),
    random(0, 16777215))
end
local function random_key()
  return uuid(string.format("%06x%02x-%04x", random(0, 16777215), random(0, 255), random(0, 65535)))
end
local function ordered_key()
  ffi.C.gettimeofday(moment, nil)
  local ms = tonumber(moment.s) * 1000 + math.floor(tonumber(moment.us) / 1000)
  return uuid(string.format("%08x-%04x", math.floor(ms / 65536), ms % 65536))
end
"""


def payload(bytes_count: int) -> str:
    """A JSON object of exactly so many bytes (at least 11)."""
    return '{"text":"' + "x" * (bytes_count - 11) + '"}'


def create_body(payload_bytes: int) -> str:
    """The body of a create."""
    return f'{{"command":"{COMMAND}","payload":{payload(payload_bytes)}}}'


def creates(token: str, payload_bytes: int) -> str:
    """One request, over and over: wrk does not call into Lua at all. No token: no Authorization."""
    return f"""
wrk.method, wrk.path = "POST", "{PATH}"
wrk.body = '{create_body(payload_bytes)}'
{_headers(token)}
"""


def creates_with_keys(token: str, payload_bytes: int, keys: str) -> str:
    """Creates with a key of their own each: `keys` is `ordered`, `random`, or `none` for the same without."""
    key = "" if keys == "none" else f""" .. ',"idempotencyKey":"' .. {keys}_key() .. '"'"""
    start = create_body(payload_bytes).removesuffix("}")
    return f"""
{_UUIDS}
{_headers(token)}
function request()
  return wrk.format("POST", "{PATH}", nil, '{start}'{key} .. '}}')
end
"""


def claims(token: str, folder: Path) -> str:
    """Claims without waiting. Each thread writes the ids it gets into a file of its own in `folder`."""
    return f"""
wrk.method, wrk.path = "POST", "{PATH}/claim"
wrk.body = '{claim_body()}'
{_headers(token)}
claimed, missed = 0, 0
function init(args) out = io.open({_quoted(folder)} .. "/ids." .. number, "w") end
function response(status, headers, body)
  local id = status == 200 and body:match('"id": ?"([%x-]+)"')
  if id then claimed = claimed + 1; out:write(id, "\\n") else missed = missed + 1 end
end
"""


def results(token: str, folder: Path) -> str:
    """One result for each id that `claims` left in `folder`. A thread without ids stops: `exhausted` counts those."""
    return f"""
{_headers(token)}
exhausted = 0
function init(args) ids = io.lines({_quoted(folder)} .. "/ids." .. number) end
function request()
  local id = exhausted == 0 and ids()
  if not id then
    exhausted = 1
    wrk.thread:stop()
    return wrk.format("GET", "/healthz")
  end
  return wrk.format("POST", "{PATH}/" .. id .. "/result", nil, '{result_body()}')
end
"""


def cycles(producer: str, worker: str, payload_bytes: int) -> str:
    """Create, claim, result, in equal parts. A thread claims only what it has seen created, so there is always one."""
    return f"""
local as_producer = {{["Authorization"] = "Bearer {producer}", ["Content-Type"] = "application/json"}}
local as_worker = {{["Authorization"] = "Bearer {worker}", ["Content-Type"] = "application/json"}}
local ids, owed, create, claim = {{}}, 0
created, claimed, finished, missed = 0, 0, 0, 0
function init(args)
  create = wrk.format("POST", "{PATH}", as_producer, '{create_body(payload_bytes)}')
  claim = wrk.format("POST", "{PATH}/claim", as_worker, '{claim_body()}')
end
function request()
  local id = table.remove(ids)
  if id then return wrk.format("POST", "{PATH}/" .. id .. "/result", as_worker, '{result_body()}') end
  if owed > 0 then owed = owed - 1; return claim end
  return create
end
function response(status, headers, body)
  if status == 201 then created = created + 1; owed = owed + 1; return end
  if status ~= 200 then missed = missed + 1; if status == 204 then owed = owed + 1 end; return end
  if not body:find('"leaseId"', 1, true) then finished = finished + 1; return end
  claimed = claimed + 1
  table.insert(ids, body:match('"id": ?"([%x-]+)"'))
end
"""


def claim_body() -> str:
    """The body of a claim that does not wait."""
    return f'{{"commands":["{COMMAND}"],"leaseSeconds":{LEASE_SECONDS},"workerId":"w1"}}'


def result_body() -> str:
    """The body of a result."""
    return '{"status":"COMPLETED","workerId":"w1","result":{"sent":true}}'


def _headers(token: str) -> str:
    lines = ['wrk.headers["Content-Type"] = "application/json"']
    if token:
        lines.append(f'wrk.headers["Authorization"] = "Bearer {token}"')
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    return msgspec.json.encode(str(path)).decode()
