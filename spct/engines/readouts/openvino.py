"""Logits at one position by OpenVINO's own runtime, from the same weights as the embedded engine.

The GenAI pipeline reports only the sampled token's probability, but it writes the model that it
compiles (`enable_save_ov_model`), and the plain runtime reads that: inputs input_ids,
attention_mask, position_ids and beam_idx, logits for every position out. Two things are added here.
The language-model head is moved behind a slice of the last position: for a 49k vocabulary it is a
fifth of a forward. And after a shared prefix the questions are read side by side, each on a copy of
its state (keys and values), so that the prefix is read once for all.
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
_BATCH_TOKENS = 32_768  # of keys and values that the rests of one forward hold


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
        """The prefix once, then the rests side by side on copies of its state."""
        self._request.reset_state()
        if not shared:
            return [
                self._masses([rest], [labels], 0)[0]
                for rest, labels in zip(rests, wanted, strict=True)
            ]
        self._forward([shared], 0)
        size = max(1, _BATCH_TOKENS // (len(shared) + max(map(len, rests))))
        kept: list[Any] = []
        if len(rests) > size:
            kept = [state.state.data.copy() for state in self._request.query_state()]
        found: list[list[float]] = []
        for start in range(0, len(rests), size):
            if start:
                for state, value in zip(self._request.query_state(), kept, strict=True):
                    state.state = openvino.Tensor(value)
            end = start + size
            found += self._masses(rests[start:end], wanted[start:end], len(shared))
        return found

    def _masses(
        self, rests: Sequence[Sequence[int]], wanted: Sequence[list[list[int]]], past: int
    ) -> list[list[float]]:
        """What each label's spellings get after each rest, all in one forward."""
        if not past:
            self._request.reset_state()
        found = []
        for logits, labels in zip(self._forward(rests, past), wanted, strict=True):
            p = np.exp(logits - logits.max())
            p /= p.sum()
            found.append([float(p[label].sum()) for label in labels])
        return found

    def _forward(self, rows: Sequence[Sequence[int]], past: int) -> np.ndarray[Any, Any]:
        """Logits (B, V) at the last position of each row, after `past` tokens that all share.

        Rows are padded at the left, so that their last positions are one column; `beam_idx` gives
        each row a copy of the state.
        """
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.ones((len(rows), past + width), np.int64)
        places = np.full((len(rows), width), past, np.int64)
        for i, row in enumerate(rows):
            pad = width - len(row)
            ids[i, pad:] = row
            mask[i, past : past + pad] = 0
            places[i, pad:] = np.arange(past, past + len(row))
        out = self._request.infer(
            {
                "input_ids": ids,
                "attention_mask": mask,
                "position_ids": places,
                "beam_idx": np.zeros(len(rows), np.int32),
            }
        )
        logits: np.ndarray[Any, Any] = next(iter(out.values()))[:, -1].astype(np.float64)
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
