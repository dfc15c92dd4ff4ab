"""The turns of a text that went through a chat template: its marks, in order, and what follows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from spct.data.chat.conversation import KINDS
from spct.data.chat.families import TEMPLATES, Template
from spct.data.chat.parts import Piece, joined, result_of
from spct.errors import TemplateError
from spct.text.tokens import pattern_of
from spct.types import Message

_TAG = re.compile(r"</?[a-z_:]+>")
_THOUGHT_BEGUN = re.compile(r"</?think>|<\|channel>thought|<channel\|>")
_TOOLS = ("tool_declare", "available_tools")  # system turns of kimi and granite


@dataclass(slots=True)
class _Part:
    label: str
    texts: list[str]  # in the order of the text: strings that grow would cost their length again


@dataclass(slots=True)
class _Turn:
    kind: str  # system, user, assistant or result
    name: str = ""
    parts: list[_Part] = field(default_factory=list)
    is_empty: bool = True  # of plain text

    def add(self, text: str, label: str = "", *, template: Template) -> None:
        """Begin another part; an empty one leaves no mark."""
        has_text = bool(trimmed(text, template))
        if has_text or label.startswith("Result"):
            self.parts.append(_Part(label, [text]))
        self.is_empty = self.is_empty and (bool(label) or not has_text)

    def message(self, template: Template) -> Message:
        pieces = [Piece(trimmed("".join(p.texts), template), p.label) for p in self.parts]
        if self.kind == "result":
            pieces = [p if p.label else result_of(p.text, self.name) for p in pieces]
            return Message("user", joined(pieces))
        assert self.kind in ("system", "user", "assistant")
        return Message(self.kind, joined(pieces))  # type: ignore[arg-type]


def turns_of(text: str, template: Template, where: str = "text") -> list[Message]:
    """Every turn of a text; a generation prompt leaves an empty one of the assistant at the end."""
    text = begun(text, template)
    found = marks_in(text, template)
    turns: list[_Turn] = []
    before = text[: found[0].start()] if found else text
    if not found or (before.strip() and not template.bare_system):
        raise _unknown(text, before, template, where)
    if before.strip():
        turns.append(_Turn("system"))
        turns[0].add(before, template=template)
    ends = [*(mark.start() for mark in found[1:]), len(text)]
    for mark, end in zip(found, ends, strict=True):
        if turns and _is_torn(turns[-1], mark, text, template):
            raise TemplateError(
                f"{where}: got {mark[0].strip()!r} inside a {turns[-1].kind} turn that has not "
                f"ended, in text of the template {template.name}: somebody wrote the mark; leave "
                "the row out, or send messages instead of templated text"
            )
        _add(turns, mark, text[mark.end() : end], template, where)
    kept = [t for t in turns if t.parts or t is turns[-1]]
    if len(kept) > 1 and not kept[-1].parts and kept[-1].kind in ("user", "result"):
        kept.pop()  # GLM ends a reply with the mark of whoever speaks next
    messages = [turn.message(template) for turn in kept]
    return [m for i, m in enumerate(messages) if m.content or i == len(messages) - 1]


def marks_in(text: str, template: Template) -> list[re.Match[str]]:
    """Everything that structures a text; where turns alternate, a reply begins but once."""
    kept: list[re.Match[str]] = []
    begun_by = ""  # who speaks
    for mark in template.marks().finditer(text):
        opens = template.opens.get(mark[0])
        if template.takes_turns and opens == begun_by == "assistant":
            continue  # a policy wrote [/INST]: it is text
        begun_by = opens or begun_by
        kept.append(mark)
    return kept


def _is_torn(turn: _Turn, mark: re.Match[str], text: str, template: Template) -> bool:
    """Whether a mark opens a turn where the one before goes on, as no template writes it.

    The assistant's own turn may end anyhow: a policy stops where it likes.
    """
    if mark[0] in template.inside or turn.kind == "assistant":
        return False
    if template.takes_turns:
        is_next = template.opens.get(mark[0]) in ("user", "system")
        return is_next and turn.kind == "user" and bool(turn.parts)
    near = text[max(0, mark.start() - 64) : mark.start()].rstrip()
    return template.is_closed and not near.endswith(template.closes)


def _add(
    turns: list[_Turn], mark: re.Match[str], text: str, template: Template, where: str
) -> None:
    """Add a mark and the text after it to the turns, as one part or a turn of its own."""
    kind = template.inside.get(mark[0])
    if kind is None:
        opened, label = _role(mark, template, where)
        is_going_on = template.name == "harmony" and turns and turns[-1].kind == "assistant"
        if not (is_going_on and opened.kind == "assistant"):  # its channels are one turn
            turns.append(opened)
        turns[-1].add(text, label, template=template)
    elif kind == "tools" and (not turns or turns[-1].kind in ("system", "user")):
        if not turns or turns[-1].kind != "system":
            turns.append(_Turn("system"))
        turns[-1].add(text, "Tools:", template=template)
    elif not turns:
        raise _unknown(mark[0], mark[0], template, where)
    else:
        _add_inside(turns, kind, mark, text, template)


def _add_inside(
    turns: list[_Turn], kind: str, mark: re.Match[str], text: str, template: Template
) -> None:
    turn = turns[-1]
    is_tag = _TAG.fullmatch(mark[0]) is not None
    if kind in ("call", "thought") and turn.kind == "assistant":
        label = "Call of a tool:" if kind == "call" else "Thought:"
        turn.add(text, label, template=template)
    elif kind == "result" and turn.is_empty and turn.kind in ("user", "system", "result"):
        turn.kind = "result"
        turn.add(text, "Result of a tool:", template=template)
    elif kind == "result" and turn.kind == "assistant" and not is_tag:
        turns.append(_Turn("result"))
        turns[-1].add(text, "Result of a tool:", template=template)
    elif kind == "sep" and turn.parts and turn.parts[-1].label:
        turn.parts[-1].texts += ["\n", text]
    elif kind == "resume":
        if trimmed(text, template):
            turns.append(_Turn("assistant"))
            turns[-1].add(text, template=template)
    elif kind == "more" and (turn.is_empty or turn.parts[-1].label or not is_tag):
        turn.add(text, template=template)
    else:  # a mark where it has no meaning is quoted: a user may ask about <think>
        if not turn.parts:
            turn.parts.append(_Part("", []))
        turn.parts[-1].texts += [quoted(mark), text]
        turn.is_empty = turn.is_empty and bool(turn.parts[-1].label)


def _role(mark: re.Match[str], template: Template, where: str) -> tuple[_Turn, str]:
    """The turn that a role's mark opens, and what its text is where it is not plainly said."""
    if mark[0] in template.opens:
        return _Turn(template.opens[mark[0]]), ""
    groups = mark.groupdict()
    said = (groups.get("r") or groups.get("end") or "").strip()
    detail = (groups.get("s") or "").strip()
    name, _, to = said.partition(" to=")
    if template.name == "harmony":
        channel, _, other = detail.partition(" to=")
        to = (to or other).split(" ")[0]
        if name not in ("system", "developer", "user", "assistant", ""):
            return _Turn("result", name), ""  # a tool speaks under its own name
        label = f"Call of the tool {to}:" if to else "Thought:" if channel == "analysis" else ""
        return _Turn(KINDS[name or "assistant"]), label
    if detail in ("tool", *_TOOLS):  # kimi: a system turn that says what it is
        name = detail
    if name in _TOOLS:
        return _Turn("system"), "Tools:"
    kind = KINDS.get(name.lower())
    if kind is None or kind == "call":
        raise TemplateError(
            f"{where}: got a turn of the role {name!r} in text of the template {template.name}, "
            f"expected one of {', '.join(KINDS)}"
        )
    return _Turn(kind), ""


def trimmed(text: str, template: Template) -> str:
    """The text of a turn without what closes or pads it."""
    return without(text, (*template.closes, *template.starts), at_start=False).strip()


def begun(text: str, template: Template) -> str:
    """A text from its first turn on: without pads, with a start token that a trainer stripped."""
    text = without(text, template.starts, at_start=True)
    whole = template.bos + text
    found = template.marks().match(whole) if template.bos and template.closes[0] in text else None
    is_stripped = found is not None and (found.groupdict().get("r") or "").lower() in KINDS
    return whole if is_stripped and not text.startswith(template.bos) else text


def without(text: str, tokens: Iterable[str], *, at_start: bool) -> str:
    """The text without the tokens and the white space at one of its ends."""
    some = tuple(tokens)
    if not some:
        return text
    if at_start:
        found = re.match(rf"(?:{pattern_of(some)}|\s)*", text)
        return text[found.end() :] if found else text
    end = len(text)
    while end:
        near = text[
            max(0, end - 4096) : end
        ]  # a window, so that many pads cost no copy of the text
        end -= len(near) - len(near.rstrip())
        token = next((t for t in some if text.endswith(t, 0, end)), None)
        if token is None and (len(near.rstrip()) or not end):
            break
        end -= len(token) if token else 0
    return text[:end]


def awaits_reply(text: str, template: Template) -> bool:
    """Whether a text ends in the opening of the assistant's turn, after another turn.

    A question about such a mark ends in one, too, but not behind the end of a turn.
    """
    found = [m for m in template.marks().finditer(text) if m[0] not in template.inside]
    if not found:
        return False
    last = found[-1]
    groups = last.groupdict()
    role = template.opens.get(last[0]) or groups.get("r") or groups.get("end") or ""
    rest = _THOUGHT_BEGUN.sub("", text[last.end() :])
    if KINDS.get(role.strip().lower(), role) != "assistant" or rest.strip():
        return False
    before = text[max(0, last.start() - 64) : last.start()].rstrip()
    return before.endswith(template.closes) if template.is_closed else len(found) > 1


def fits(text: str, template: Template) -> bool:
    """Whether a text begins as one of the family does."""
    found = template.marks().match(begun(text, template))
    return found is not None and found[0] not in template.inside


def _unknown(text: str, before: str, template: Template, where: str) -> TemplateError:
    some = " or ".join(name for name, t in TEMPLATES.items() if fits(text, t))
    return TemplateError(
        f"{where}: got text that does not begin as one of the template {template.name}: "
        f"{before.strip()[:60]!r}"
        + (f"; it fits {some}: name that with --template" if some else "")
    )


def quoted(mark: re.Match[str]) -> str:
    """A token as text that is none."""
    return "‹" + re.sub(r"[<>\[\]|｜~]", "", mark[0]) + "›"
