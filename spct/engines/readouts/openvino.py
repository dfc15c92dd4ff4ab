"""Logits at one position by OpenVINO's own runtime, from the same weights as the embedded engine.

The GenAI pipeline reports only the sampled token's probability, but it writes the model that it
compiles (`enable_save_ov_model`), and the plain runtime reads that: inputs input_ids,
attention_mask, position_ids and beam_idx, logits for every position out. Two inputs are added here.
`last` names the positions that the language-model head is applied to: for a 49k vocabulary it is a
fifth of a forward. And `blocks` is added to the attention's mask, so that questions stand one after
another behind the text that they share and none sees another: one forward reads them all. To go on
from the shared text's state is slower: 8 questions of 30 tokens after 960 took longer than the 960.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spct.engines.lora import find_lora
from spct.engines.readouts.packing import SHARED, Packed, packed
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
_ATTENTION = "ScaledDotProductAttention"
_HIDDEN = -65504.0  # what the graph's own mask hides with


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
            self._packs = _with_inputs(graph)
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
        """The rests packed behind what they share."""
        rows = packed(shared, rests, one_by_one=not self._packs)
        logits = [row for one in rows for row in self._forward(one)]
        found = []
        for row, labels in zip(logits, wanted, strict=True):
            p = np.exp(row - row.max())
            p /= p.sum()
            found.append([float(p[label].sum()) for label in labels])
        return found

    def _forward(self, row: Packed) -> np.ndarray[Any, Any]:
        """Logits (rests, V) at the last position of each."""
        given = {
            "input_ids": np.array([row.ids], np.int64),
            "attention_mask": np.ones((1, len(row.ids)), np.int64),
            "position_ids": np.array([row.places], np.int64),
            "beam_idx": np.zeros(1, np.int32),
        }
        if self._packs:
            blocks = np.zeros((1, 1), np.float32)
            if len(row.last) > 1:
                owners = np.array(row.owners)
                is_seen = (owners == SHARED) | (owners[:, None] == owners)
                blocks = np.where(is_seen, np.float32(0), np.float32(_HIDDEN))
            given |= {"last": np.array(row.last, np.int64), "blocks": blocks[None, None]}
        self._request.reset_state()
        logits = next(iter(self._request.infer(given).values()))[0]
        found: np.ndarray[Any, Any] = logits if self._packs else logits[row.last]
        return found.astype(np.float64)


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


def _with_inputs(graph: openvino.Model) -> bool:
    """Add `last` and `blocks`; False, and nothing added, if the graph is not one that we know."""
    product = graph.output("logits").get_node().input_value(0).get_node()
    attentions = [one for one in graph.get_ops() if one.get_type_name() == _ATTENTION]
    known = product.get_type_name() == "MatMul" and all(len(a.inputs()) > 3 for a in attentions)
    if not (known and attentions):
        return False  # all positions are computed and each question by itself: only slower
    last = ops.parameter([-1], np.int64, name="last")
    hidden = ops.gather(product.input_value(0), last, ops.constant(1))
    product.input(0).replace_source_output(hidden.output(0))
    blocks = ops.parameter([1, 1, -1, -1], np.float32, name="blocks")
    masks: dict[str, Any] = {}  # one for all layers, or one a layer
    for one in attentions:
        own = one.input_value(3)
        name = f"{own.get_node().get_friendly_name()}:{own.get_index()}"
        if name not in masks:
            masks[name] = ops.add(own, blocks).output(0)
        one.input(3).replace_source_output(masks[name])
    for added in (last, blocks):
        added.output(0).set_names({added.get_friendly_name()})
    graph.add_parameters([last, blocks])
    graph.validate_nodes_and_infer_types()
    return True
