"""Facts about this machine without which no figure means anything."""

import os
import platform
from pathlib import Path
from typing import Any

from appliance.version import package_version


def machine(directory: Path) -> dict[str, Any]:
    """Processor, memory, versions, and the file system under a directory."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "codeq": package_version(),
        "filesystem": filesystem(directory),
        "load_average": os.getloadavg(),
    }


def filesystem(directory: Path) -> str:
    """The type of the file system under a directory: on `tmpfs` a flush costs nothing, and figures mean nothing."""
    best, found = "", "unknown"
    place = str(directory.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, found = mount, kind
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
