"""Chat template families: what opens a role's turn, what stands inside one, what carries nothing.

The sources stand beside the tokens in special_tokens.txt. A mark says what follows it: a role's
turn, a tool's `call` or `result`, a `thought`, a list of `tools`, `more` of the open turn, the
next part of a call (`sep`), or whatever the assistant says next (`resume`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from spct.errors import ConfigError


def _marks(**kinds: str) -> dict[str, str]:
    return {mark: kind for kind, marks in kinds.items() for mark in marks.split()}


@dataclass(frozen=True, slots=True)
class Template:
    """One family. `roles` finds a turn's opening; its groups `r` and `s` hold the role's name.

    `opens` are literal openings of a role, `inside` marks within a turn. `closes` end a turn,
    `starts` begin a text or pad it on either side: both carry nothing. `bare_system`: the text
    between the start and the first turn is the system turn. `is_closed`: what the user and the
    system say ends in one of `closes`; `takes_turns`: the user never speaks twice in a row.
    """

    name: str
    closes: tuple[str, ...]
    starts: tuple[str, ...]
    roles: str | None = None
    opens: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)
    bare_system: bool = False
    is_closed: bool = False
    takes_turns: bool = False
    bos: str = ""  # where it opens a turn: trainers strip one start token from a text

    def marks(self) -> re.Pattern[str]:
        """Everything that structures a text of this family."""
        literal = sorted([*self.opens, *self.inside], key=len, reverse=True)
        some = [self.roles] if self.roles else []
        return re.compile("|".join([*some, *map(re.escape, literal)]))


_THOUGHT = _marks(thought="<think>", more="</think>")
_TAGS = _THOUGHT | _marks(
    call="<tool_call>", result="<tool_response>", more="</tool_call> </tool_response>"
)
_ALL = (
    Template(  # Qwen, SmolLM, Yi
        "chatml",
        ("<|im_end|>", "<|endoftext|>"),
        ("<|endoftext|>", "<s>", "<|im_end|>"),
        r"<\|im_start\|>(?P<r>[^\n<|]*)(?:\n|\Z)",
        inside=_TAGS,
        is_closed=True,
        bos="<|im_start|>",  # SmolLM2's
    ),
    Template(
        "llama2",
        ("</s>",),
        ("<s>", "</s>", "<unk>", "<pad>"),
        opens=_marks(user="[INST] <</SYS>>", system="<<SYS>>", assistant="[/INST]"),
        takes_turns=True,
    ),
    Template(
        "llama3",
        ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"),
        r"<\|start_header_id\|>(?P<r>[^<|]*)<\|end_header_id\|>",
        inside={"<|python_tag|>": "call", **_THOUGHT},
        is_closed=True,
    ),
    Template(
        "llama4",
        ("<|eot|>", "<|eom|>", "<|end_of_text|>"),
        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot|>", "<|finetune_right_pad|>"),
        r"<\|header_start\|>(?P<r>[^<|]*)<\|header_end\|>",
        inside=_marks(call="<|python_start|>", more="<|python_end|>"),
        is_closed=True,
    ),
    Template(
        "gemma",
        ("<end_of_turn>", "<eos>"),
        ("<bos>", "<pad>", "<eos>"),
        r"<start_of_turn>(?P<r>[^\n<]*)(?:\n|\Z)",
        is_closed=True,
    ),
    Template(
        "gemma4",
        ("<turn|>", "<eos>"),
        ("<bos>", "<pad>", "<eos>", "<turn|>"),
        r"<\|turn>(?P<r>[^\n<]*)(?:\n|\Z)",
        is_closed=True,
        inside=_marks(
            thought="<|channel>thought", call="<|tool_call>", result="<|tool_response>",
            tools="<|tool>", more="<channel|> <tool_call|> <tool_response|> <tool|> <|think|>",
        ),
    ),
    Template(  # v1 and v3 have no system form: that text stands in the user's turn
        "mistral",
        ("</s>",),
        ("<s>", "</s>", "<pad>", "<unk>"),
        opens=_marks(system="[SYSTEM_PROMPT]", user="[/SYSTEM_PROMPT] [INST]", assistant="[/INST]"),
        inside=_marks(
            tools="[AVAILABLE_TOOLS]", call="[TOOL_CALLS]", sep="[ARGS] [CALL_ID] [TOOL_CONTENT]",
            result="[TOOL_RESULTS]", resume="[/TOOL_RESULTS]", thought="[THINK]",
            more="[/AVAILABLE_TOOLS] [/THINK]",
        ),
        takes_turns=True,
    ),
    Template(
        "deepseek",
        ("<｜end▁of▁sentence｜>", "<|EOT|>"),
        ("<｜begin▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜end▁of▁sentence｜>"),
        opens=_marks(user="<｜User｜>", assistant="<｜Assistant｜>"),
        inside={
            **_THOUGHT,
            **_marks(
                call="<｜tool▁call▁begin｜>", sep="<｜tool▁sep｜>",
                result="<｜tool▁output▁begin｜>",
                more="<｜tool▁calls▁begin｜> <｜tool▁call▁end｜> <｜tool▁calls▁end｜>",
                # After a tool's output the assistant goes on without a mark of its own.
                resume="<｜tool▁outputs▁begin｜> <｜tool▁output▁end｜> <｜tool▁outputs▁end｜>",
            ),
        },
        bare_system=True,
    ),
    Template(  # phi 3 and 4-mini, zephyr, tulu
        "phi",
        ("<|end|>", "<|endoftext|>", "</s>"),
        ("<s>", "<|endoftext|>", "</s>", "<pad>"),
        r"<\|(?P<r>system|user|assistant|tool_response)\|>",
        inside=_THOUGHT
        | _marks(call="<|tool_call|>", tools="<|tool|>", more="<|/tool_call|> <|/tool|>"),
    ),
    Template(
        "phi4",
        ("<|im_end|>", "<|endoftext|>"),
        ("<|endoftext|>",),
        r"<\|im_start\|>(?P<r>[^\n<|]*)<\|im_sep\|>",
        inside=_THOUGHT,
        is_closed=True,
    ),
    Template(  # gpt-oss: a header names role, channel and recipient; a prompt ends in half a header
        "harmony",
        ("<|end|>", "<|return|>", "<|call|>", "<|endoftext|>"),
        ("<|startoftext|>", "<|endoftext|>"),
        r"(?:<\|start\|>(?P<r>[^<|]*))?(?:<\|channel\|>(?P<s>[^<|]*))?"
        r"(?:<\|constrain\|>[^<|]*)?<\|message\|>|<\|start\|>(?P<end>[^<|]*)\Z",
        is_closed=True,
    ),
    Template(
        "command-r",
        ("<|END_OF_TURN_TOKEN|>", "<EOS_TOKEN>"),
        ("<BOS_TOKEN>", "<PAD>", "<EOS_TOKEN>"),
        r"<\|START_OF_TURN_TOKEN\|><\|(?P<r>SYSTEM|USER|CHATBOT)_TOKEN\|>",
        inside=_marks(
            thought="<|START_THINKING|>", call="<|START_ACTION|>", result="<|START_TOOL_RESULT|>",
            more="<|END_THINKING|> <|START_RESPONSE|> <|END_RESPONSE|> <|END_ACTION|> "
            "<|END_TOOL_RESULT|>",
        ),
        is_closed=True,
    ),
    Template(  # its replies end in the mark of whoever speaks next
        "glm",
        ("<|endoftext|>", "<|user|>", "<|observation|>"),
        ("[gMASK]", "<sop>", "<|endoftext|>"),
        r"<\|(?P<r>system|user|assistant|observation)\|>",
        inside=_TAGS,
    ),
    Template(
        "kimi",
        ("<|im_end|>", "[EOS]"),
        ("[BOS]", "[PAD]", "[EOS]"),
        r"<\|im_(?P<r>system|user|assistant)\|>(?P<s>[^<|]*)<\|im_middle\|>",
        inside={
            **_THOUGHT,
            **_marks(
                call="<|tool_call_begin|>", sep="<|tool_call_argument_begin|>",
                more="<|tool_calls_section_begin|> <|tool_call_end|> <|tool_calls_section_end|>",
            ),
        },
        is_closed=True,
    ),
    Template(
        "granite",
        ("<|end_of_text|>",),
        ("<|end_of_text|>",),
        r"<\|start_of_role\|>(?P<r>[^<|]*)<\|end_of_role\|>",
        inside={**_TAGS, "<|tool_call|>": "call"},
        is_closed=True,
    ),
    Template(
        "minimax",
        ("[e~[",),
        ("]~!b[",),
        r"\]~b\](?P<r>\w+)(?:\n|\Z)",
        inside=_THOUGHT | _marks(call="<minimax:tool_call>", more="</minimax:tool_call>"),
        is_closed=True,
    ),
)  # fmt: skip
ALIASES = {"qwen": "chatml", "gpt-oss": "harmony", "zephyr": "phi", "tulu": "phi"}
TEMPLATES: Mapping[str, Template] = {t.name: t for t in _ALL}


def template_named(name: str | None) -> Template | None:
    """The template family of a name; None for none."""
    if name is None:
        return None
    if found := TEMPLATES.get(ALIASES.get(name, name)):
        return found
    raise ConfigError(f"no template family {name!r}; there are {', '.join([*TEMPLATES, *ALIASES])}")
