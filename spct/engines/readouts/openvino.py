"""Logits at one position by OpenVINO's own runtime, from the same weights as the embedded engine.

The GenAI pipeline reports only the sampled token's probability, but it writes the model that it
compiles (`enable_save_ov_model`), and the plain runtime reads that: inputs input_ids,
attention_mask, position_ids and beam_idx, logits for every position out. Two things are added here.
The language-model head is moved behind a slice of the last position: for a 49k vocabulary it is a
fifth of a forward. And the state (keys and values) after a shared prefix is kept and set back, so
that the prefix is read once for many questions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spct.engines.lora import find_lora
from spct.engines.weights import as_f16, cache_folder, content_key, context_length, find_model
from spct.errors import ConfigError, EngineError, ExtraMissing
from spct.types import Message

try:
    import openvino
    import openvino_genai as genai
    from openvino import opset13 as ops
except ImportError as error:
    raise ExtraMissing("openvino-genai", "embedded") from error

_XML = "openvino_model.xml"


class OpenVINOBackend:
    """A GGUF model with its adapters merged, compiled for logits at the last position."""

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        adapters: Sequence[str | Path] = (),
        device: str = "CPU",
    ) -> None:
        source = find_model(model)
        if source.kind != "gguf":
            raise ConfigError(
                f"reading decisions in openvino takes a GGUF file; got the {source.kind} model "
                f"{str(source.path)!r}; use the hf engine for it"
            )
        path = as_f16(source.path, loras=[find_lora(one) for one in adapters])
        self.name = f"openvino:{source.name}@{content_key(path)}"
        self.context_length = context_length(path)
        folder = _exported(path, device)
        try:
            graph = openvino.Core().read_model(folder / _XML)
            _keep_last_position(graph)
            compiled = openvino.Core().compile_model(
                graph, device, {"EXECUTION_MODE_HINT": "ACCURACY"}
            )
        except RuntimeError as error:
            raise EngineError(f"compiling {str(path)!r} with openvino: {error}") from error
        self._request: Any = compiled.create_infer_request()
        self._tokenizer = genai.Tokenizer(folder)

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """The request's token ids."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        text = self._tokenizer.apply_chat_template(turns, True)
        return self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).input_ids.data
        return [int(one) for one in ids[0]]

    def spellings(self, label: str) -> list[int]:
        """The label's single-token spellings."""
        found = [self._encoded(text) for text in (label, f" {label}")]
        return sorted({ids[0] for ids in found if len(ids) == 1})

    def masses(
        self,
        shared: Sequence[int],
        rests: Sequence[Sequence[int]],
        wanted: Sequence[list[list[int]]],
    ) -> list[list[float]]:
        """The prefix once, then each rest on a copy of its state."""
        self._request.reset_state()
        kept: list[Any] = []
        if shared:
            self._forward(shared, 0)
            kept = [state.state.data.copy() for state in self._request.query_state()]
        found = []
        for rest, labels in zip(rests, wanted, strict=True):
            if shared:
                for state, value in zip(self._request.query_state(), kept, strict=True):
                    state.state = openvino.Tensor(value)
            else:
                self._request.reset_state()
            logits = self._forward(rest, len(shared)).astype(np.float64)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            found.append([float(p[label].sum()) for label in labels])
        return found

    def _forward(self, ids: Sequence[int], past: int) -> np.ndarray[Any, Any]:
        n = len(ids)
        out = self._request.infer(
            {
                "input_ids": np.array([ids], np.int64),
                "attention_mask": np.ones((1, past + n), np.int64),
                "position_ids": np.arange(past, past + n, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        logits: np.ndarray[Any, Any] = next(iter(out.values()))[0, -1]
        return logits


def _exported(path: Path, device: str) -> Path:
    """The folder with the pipeline's own form of a GGUF file, written once."""
    folder = cache_folder() / f"{path.stem}-openvino"
    if (folder / _XML).is_file():
        return folder
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True, exist_ok=True)
    linked = part / "model.gguf"
    linked.unlink(missing_ok=True)
    try:
        os.link(path, linked)
        try:
            genai.LLMPipeline(linked, device, enable_save_ov_model=True)
        except RuntimeError as error:
            raise EngineError(f"exporting {str(path)!r} with openvino-genai: {error}") from error
        linked.unlink()
        part.replace(folder)
    except OSError as error:
        if (folder / _XML).is_file():  # another process was quicker
            return folder
        raise EngineError(f"cannot write the exported model {folder}: {error}") from error
    return folder


def _keep_last_position(graph: openvino.Model) -> None:
    """Put a slice of the last position before the head's product, as the pipeline does."""
    product = graph.output("logits").get_node().input_value(0).get_node()
    if product.get_type_name() != "MatMul":
        return  # another graph than we know: all positions are computed, which is only slower
    hidden = product.input_value(0)
    last = ops.gather(hidden, ops.constant(np.array([-1], np.int64)), ops.constant(1))
    product.input(0).replace_source_output(last.output(0))
    graph.validate_nodes_and_infer_types()
