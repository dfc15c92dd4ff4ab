"""`spct` and `accelerate launch` that start at once, forked from a process that has TRL loaded.

A run.sh walks its stages with them on PATH as it would with the installed ones; each saves the ten
seconds of its imports. Every command is a process of its own, with its own environment and folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path

SLOW = (
    "datasets",
    "peft",
    "trl.trainer.grpo_trainer",
    "trl.trainer.sft_trainer",
    "transformers.models.gemma2.modeling_gemma2",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.models.qwen3_5.modeling_qwen3_5",
    "spct.cli.train",
    "spct.cli.train_data",
    "spct.engines.hf",
    "spct.train.meta_rm",
    "spct.train.rl",
    "spct.train.sorted_grpo",
)
SHIM = """#!{python} -SE
import array, json, os, socket, sys
args = sys.argv[1:]
if os.path.basename(sys.argv[0]) == "accelerate":  # launch --config_file FILE SCRIPT ARGS
    args = args[1 + next(i for i, a in enumerate(args) if a.endswith("/spct")):]
with socket.socket(socket.AF_UNIX) as s:
    s.connect({address!r})
    socket.send_fds(s, [b"x"], [1, 2])
    s.sendall(json.dumps([os.getcwd(), dict(os.environ), args]).encode() + b"\\n")
    sys.exit(int(s.makefile().readline()))
"""


def shims(folder: Path) -> Path:
    """A folder for PATH, and the socket that its commands ask."""
    for name in ("spct", "accelerate"):
        path = folder / name
        path.write_text(SHIM.format(python=sys.executable, address=str(folder / "socket")))
        path.chmod(0o755)
    return folder / "socket"


def main(address: str) -> None:
    """Import what is slow, then fork for every command until standard input ends."""
    for name in SLOW:
        import_module(name)
    from spct.cli.main import main as spct_main

    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            asked, _ = door.accept()
            _, fds, _, _ = socket.recv_fds(asked, 1, 2)
            folder, environ, args = json.loads(asked.makefile().readline())
            if pid := os.fork():
                _, status = os.waitpid(pid, 0)
                asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                asked.close()
                for fd in fds:
                    os.close(fd)
                continue
            os.dup2(fds[0], 1), os.dup2(fds[1], 2)
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environ)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code: object = 1
            try:
                spct_main(args)
            except SystemExit as done:
                code = done.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main(sys.argv[1])
