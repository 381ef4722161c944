"""What was measured on, and with which versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

from .frame import AMEND, ROOT


def machine() -> dict[str, object]:
    """Processor, cores and memory."""
    fields = dict(
        line.split(":", 1) for line in read("/proc/cpuinfo").splitlines() if ":" in line
    )
    names = {key.strip(): value.strip() for key, value in fields.items()}
    kilobytes = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))
    return {
        "processor": names.get("model name") or platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(kilobytes[1]) / 2**20, 1) if kilobytes else None,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def versions() -> dict[str, str]:
    """Versions of the program, of its binding, and of the server where one is given."""
    found = {
        "amend": first_line([str(AMEND), "--version"]).removeprefix("amend "),
        "llama-cpp-2": locked("llama-cpp-2"),
    }
    server = os.environ.get("LLAMA_SERVER")
    if server:
        text = output([server, "--version"])
        build = re.search(r"version: (.+)", text)
        found["llama-server"] = build[1].strip() if build else "unknown"
    return found


def locked(crate: str) -> str:
    """The version of a crate in Cargo.lock."""
    found = re.search(rf'name = "{re.escape(crate)}"\nversion = "([^"]+)"', read(ROOT / "Cargo.lock"))
    return found[1] if found else "unknown"


def read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def output(command: list[str]) -> str:
    """What a program prints, on either stream."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def first_line(command: list[str]) -> str:
    return (output(command).splitlines() or ["unknown"])[0]
