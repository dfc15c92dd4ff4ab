"""Tiny random models and a word-level tokenizer: real transformers, milliseconds a forward."""

from __future__ import annotations

from pathlib import Path

from spct.text.format import PAIRWISE, POINTWISE
from spct.types import Example, Message

WORDS = (
    "good bad fine poor the a is answer query response critique because it very yes no one two "
    "three four five six seven eight nine ten what where who how ."
)
MARKS = (
    "\n : ; [ ] # #### \\boxed{ } The Begin End of Response 1 2 3 4 8 , Scores: "
    "Conversation Context"
)
NUMBERS = "one two three four five six seven eight nine ten"
CHAT = (
    "<bos>{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
SPECIALS = ["<pad>", "<bos>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<unk>"]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    templates = POINTWISE.template + PAIRWISE.template
    words = dict.fromkeys([*SPECIALS, *WORDS.split(), *MARKS.split(), *templates.split()])
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=CHAT,
        model_max_length=512,
    )
    fast.save_pretrained(str(folder))


def write_model(folder: Path, *, head: bool, seed: int = 0, hidden: int = 32) -> Path:
    """A random Llama: a language model, or a sequence classifier of one logit."""
    import torch
    from transformers import (
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
        LlamaForSequenceClassification,
    )

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    vocabulary = len(AutoTokenizer.from_pretrained(str(folder)))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        num_labels=1,
        initializer_range=0.2,
    )
    torch.manual_seed(seed)
    kind = LlamaForSequenceClassification if head else LlamaForCausalLM
    kind(config).save_pretrained(str(folder))
    return folder


def toy_example(i: int, *, n: int = 2, gold: tuple[float, ...] | None = None) -> Example:
    """Responses of which those with `good` in them are better: a toy set that anyone can learn."""
    numbers = NUMBERS.split()
    responses = tuple(
        f"the answer is {'good' if j == i % n else 'bad'} {numbers[(3 * i + j) % 10]}"
        for j in range(n)
    )
    golds = gold or tuple(float(j == i % n) for j in range(n))
    return Example(f"toy-{i}", (Message("user", f"what is {numbers[i % 10]}"),), responses, golds)
