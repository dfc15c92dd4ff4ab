"""The module that a decision model is trained through: the backbone, and two rows of its head.

`StatesCache` keeps the hidden states below the first trained layer; the
backbone's upper layers then run on them as if they were embeddings.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from spct.errors import ConfigError
from spct.models.batches import length_sorted
from spct.train.packing import Packed, Row, collate


class Readout(torch.nn.Module):
    """Log odds of the first label over the second at each side's last position."""

    def __init__(self, model: Any, labels: Sequence[Sequence[int]], *, lowest: int = 0) -> None:
        super().__init__()
        self.model, self.lowest = model, lowest
        self.labels = [torch.tensor(list(ids)) for ids in labels]
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        # not registered as modules: they are parts of `model`, and would be saved twice
        self.__dict__["decoder"], self.__dict__["head"] = (
            causal.get_decoder(),
            causal.get_output_embeddings(),
        )

    def forward(self, batch: Packed, states: torch.Tensor | None = None) -> torch.Tensor:
        """Log odds (S,) of the batch's sides, from its ids or from cached states (B, T, H)."""
        decoder: Any = self.__dict__["decoder"]
        if states is None:
            hidden = run(decoder, batch, input_ids=batch.ids_B_T)
        else:
            with upper_layers(decoder, self.lowest):
                hidden = run(decoder, batch, inputs_embeds=states)
        last_S_H = hidden[batch.row_S.to(hidden.device), batch.end_S.to(hidden.device)]
        weight = self.__dict__["head"].weight
        sides = []
        for ids in self.labels:
            logits = last_S_H.float() @ weight[ids.to(weight.device)].float().T
            sides.append(torch.logsumexp(logits, dim=-1))
        return sides[0] - sides[1]


def run(decoder: Any, batch: Packed, **inputs: torch.Tensor) -> torch.Tensor:
    """The decoder's last states (B, T, H) of packed rows, whatever its attention kernel."""
    device, dtype = decoder.device, decoder.dtype
    seen = batch.mask_B_1_T_T.to(device)
    hidden: torch.Tensor = decoder(
        **{name: tensor.to(device) for name, tensor in inputs.items()},
        attention_mask=torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype),
        position_ids=batch.positions_B_T.to(device),
        use_cache=False,
    ).last_hidden_state
    return hidden


@contextmanager
def upper_layers(decoder: Any, lowest: int) -> Iterator[None]:
    """The decoder without its lowest layers; names of parameters are unchanged outside."""
    whole = decoder.layers
    decoder.layers = whole[lowest:]
    try:
        yield
    finally:
        decoder.layers = whole


def mixed_adapters(model: Any, active: bool) -> AbstractContextManager[None]:
    """Under autocast adapters take bfloat16 as it comes: peft would widen and narrow it again."""
    if not active:
        return nullcontext()
    from peft.helpers import disable_input_dtype_casting

    casts_off: AbstractContextManager[None] = disable_input_dtype_casting(model)
    return casts_off


def compile_layers(model: Any, use_cpu: bool) -> None:
    """Compile each layer of the decoder, not the whole: that takes minutes, and as fast a step.

    Raises `ConfigError` where torch would look for a C++ compiler in vain.
    """
    compiler = os.environ.get("CXX", "g++")
    if (use_cpu or not torch.cuda.is_available()) and shutil.which(compiler) is None:
        raise ConfigError(
            f"compile_layers = true: there is no C++ compiler {compiler!r} here; install one, name"
            " it in CXX, or set compile_layers = false"
        )
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    for layer in causal.get_decoder().layers:
        layer.compile(dynamic=True)


class StatesCache:
    """Hidden states after the `lowest` layers of every row, in one file.

    bfloat16, flat: a row of 500 tokens and 576 features takes 576 kB. Written once; a killed
    writing begins again where `done` says.
    """

    def __init__(self, folder: Path, rows: Sequence[Row], width: int) -> None:
        self.folder, self.width, self.rows = folder, width, rows
        self.starts = [0, *accumulate(row.length for row in rows)]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "states.bf16"
        total = self.starts[-1]
        if path.is_file() and path.stat().st_size != total * width * 2:
            raise ConfigError(f"the states in {path} are of other data; remove the file")
        mode: Literal["r+", "w+"] = "r+" if path.is_file() else "w+"
        self.states = np.memmap(path, np.int16, mode, shape=(total, width))

    def fill(self, decoder: Any, lowest: int, pad: int, max_tokens: int = 16_384) -> None:
        """Read every row through the lowest layers."""
        lengths = [row.length for row in self.rows]
        batches = list(length_sorted(lengths, max_batch=256, max_tokens=max_tokens))
        done = self.folder / "done"
        first = int(done.read_text()) if done.is_file() else 0
        whole, norm = decoder.layers, decoder.norm
        decoder.layers, decoder.norm = whole[:lowest], torch.nn.Identity()
        try:
            for i in range(first, len(batches)):
                batch = collate([self.rows[j] for j in batches[i]], pad)
                with torch.inference_mode():
                    hidden = run(decoder, batch, input_ids=batch.ids_B_T)
                kept = hidden.to(torch.bfloat16).view(torch.int16).numpy()
                for one, j in zip(kept, batches[i], strict=True):
                    self.states[self.starts[j] : self.starts[j + 1]] = one[: lengths[j]]
                if (i + 1) % 20 == 0 or i + 1 == len(batches):
                    self.states.flush()
                    done.write_text(str(i + 1))
                    print(f"states: batch {i + 1}/{len(batches)}", file=sys.stderr, flush=True)
        finally:
            decoder.layers, decoder.norm = whole, norm

    def of(self, which: Sequence[int]) -> torch.Tensor:
        """The states (B, T, H) of some rows, padded with zeros at the right."""
        raw = [np.array(self.states[self.starts[i] : self.starts[i + 1]]) for i in which]
        return pad_sequence([torch.from_numpy(one).view(torch.bfloat16) for one in raw], True)
