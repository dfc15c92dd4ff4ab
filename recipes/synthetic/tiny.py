"""A Llama of under a million parameters and a word tokenizer made for the synthetic world.

One token is a word, a marker, a heading or a line break, so an example is about a hundred tokens.
The weights start at 0.08, about 1/sqrt(width): the usual 0.02 is meant for wide models and keeps
attention near uniform for hundreds of steps here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

PIECE = (
    r"\n*\[The (?:Begin|End) of Response(?: \d+)?\]\n?|\n*#### [A-Za-z ]+ ####\n?|"
    r"\(Weight: \d+%\):|Specific Criteria:\n|\n?Analysis:\n|\nScores:|\n*The best response is:|"
    r"Response \d+:?|\\boxed\{|\n+|,|\}|[^\s,}]+"
)
CHAT = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
    "{% if m.role == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every piece of the texts."""
    pieces = sorted({piece for text in texts for piece in re.findall(PIECE, text)} | {"\n"})
    vocabulary = {piece: i for i, piece in enumerate((*SPECIAL, *pieces))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), "removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(
                prefix="##", cleanup=False
            ),  # a space before each piece but the first
            decoders.Fuse(),
            *(decoders.Replace(a, b) for a, b in (("\n ", "\n"), (" \n", "\n"))),
            *(decoders.Replace(a, b) for a, b in (("{ ", "{"), (" }", "}"), (" ,", ","))),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    fast.chat_template = CHAT
    return fast


def new_model(
    tokenizer: PreTrainedTokenizerFast, *, layers: int = 4, seed: int = 0
) -> LlamaForCausalLM:
    """An untrained model for the tokenizer."""
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.08,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    config._attn_implementation = "eager"  # short sequences: faster than the fused one on a CPU
    return LlamaForCausalLM(config)


def save_new(texts: Iterable[str], out: Path, *, layers: int = 4, seed: int = 0) -> None:
    """Write an untrained model and its tokenizer to a folder."""
    tokenizer = build_tokenizer(texts)
    new_model(tokenizer, layers=layers, seed=seed).save_pretrained(out)
    tokenizer.save_pretrained(out)
