"""The module that a decision model is trained through: the backbone, and two rows of its head.

Right padding and a causal mask let every side be read without an attention mask: what is padded
comes after what is read. `StatesCache` keeps the hidden states below the first trained layer; the
backbone's upper layers then run on them as if they were embeddings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from spct.errors import ConfigError
from spct.models.batches import length_sorted


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

    def forward(
        self,
        lengths: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Log odds (S,) of the sides, from their ids (S, T) or cached states (S, T, H)."""
        decoder: Any = self.__dict__["decoder"]
        if states is None:
            hidden = decoder(input_ids=input_ids, use_cache=False).last_hidden_state
        else:
            with upper_layers(decoder, self.lowest):
                hidden = decoder(inputs_embeds=states, use_cache=False).last_hidden_state
        last_S_H = hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]
        weight = self.__dict__["head"].weight
        sides = []
        for ids in self.labels:
            logits = last_S_H.float() @ weight[ids.to(weight.device)].float().T
            sides.append(torch.logsumexp(logits, dim=-1))
        return sides[0] - sides[1]


@contextmanager
def upper_layers(decoder: Any, lowest: int) -> Iterator[None]:
    """The decoder without its lowest layers; names of parameters are unchanged outside."""
    whole = decoder.layers
    decoder.layers = whole[lowest:]
    try:
        yield
    finally:
        decoder.layers = whole


class StatesCache:
    """Hidden states after the `lowest` layers of every distinct sequence, in one file.

    bfloat16, flat: a side of 110 tokens and 576 features takes 127 kB. Written once; a killed
    writing begins again where `done` says.
    """

    def __init__(self, folder: Path, sequences: Sequence[tuple[int, ...]], width: int) -> None:
        self.folder, self.width = folder, width
        self.start_of: dict[tuple[int, ...], int] = {}
        total = 0
        for ids in sequences:
            if ids not in self.start_of:
                self.start_of[ids] = total
                total += len(ids)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "states.bf16"
        size = total * width * 2
        if path.is_file() and path.stat().st_size != size:
            raise ConfigError(f"the states in {path} are of other data; remove the file")
        if path.is_file():
            self.states = np.memmap(path, np.int16, "r+", shape=(total, width))
        else:
            self.states = np.memmap(path, np.int16, "w+", shape=(total, width))

    def fill(self, decoder: Any, lowest: int, pad: int, max_tokens: int = 16_384) -> None:
        """Read every sequence through the lowest layers."""
        sequences = list(self.start_of)
        batches = list(
            length_sorted([len(s) for s in sequences], max_batch=256, max_tokens=max_tokens)
        )
        done = self.folder / "done"
        first = int(done.read_text()) if done.is_file() else 0
        whole, norm = decoder.layers, decoder.norm
        decoder.layers, decoder.norm = whole[:lowest], torch.nn.Identity()
        try:
            for i in range(first, len(batches)):
                some = [sequences[j] for j in batches[i]]
                ids = pad_sequence([torch.tensor(s) for s in some], True, pad)
                with torch.inference_mode():
                    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
                kept = hidden.to(torch.bfloat16).view(torch.int16).numpy()
                for row, s in zip(kept, some, strict=True):
                    start = self.start_of[s]
                    self.states[start : start + len(s)] = row[: len(s)]
                if (i + 1) % 20 == 0 or i + 1 == len(batches):
                    self.states.flush()
                    done.write_text(str(i + 1))
                    print(f"states: batch {i + 1}/{len(batches)}", file=sys.stderr, flush=True)
        finally:
            decoder.layers, decoder.norm = whole, norm

    def of(self, sequences: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """The states (S, T, H) of some sequences, padded with zeros at the right."""
        rows = []
        for ids in sequences:
            start = self.start_of[ids]
            raw = torch.from_numpy(np.array(self.states[start : start + len(ids)]))
            rows.append(raw.view(torch.bfloat16))
        return pad_sequence(rows, batch_first=True)
