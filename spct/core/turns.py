"""The turns of a text that went through a chat template: its marks, in order, and what follows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from spct.core.conversation import KINDS
from spct.core.families import TEMPLATES, Template
from spct.core.parts import Piece, joined, result_of
from spct.core.tokens import pattern_of
from spct.errors import TemplateError
from spct.types import Message

_TOOLS = ("tool_declare", "available_tools")  # system turns of kimi and granite


@dataclass(slots=True)
class _Turn:
    kind: str  # system, user, assistant or result
    name: str = ""
    pieces: list[Piece] = field(default_factory=list)

    def message(self, template: Template) -> Message:
        pieces = [p._replace(text=trimmed(p.text, template)) for p in self.pieces]
        pieces = [p for p in pieces if p.text or p.label.startswith("Result")]
        if self.kind == "result":
            pieces = [p if p.label else result_of(p.text, self.name) for p in pieces]
            return Message("user", joined(pieces))
        assert self.kind in ("system", "user", "assistant")
        return Message(self.kind, joined(pieces))  # type: ignore[arg-type]


def turns_of(text: str, template: Template, where: str = "text") -> list[Message]:
    """Every turn of a text; a generation prompt leaves an empty one of the assistant at the end."""
    text = begun(text, template)
    found = list(template.marks().finditer(text))
    turns: list[_Turn] = []
    before = text[: found[0].start()] if found else text
    if not found or (before.strip() and not template.bare_system):
        raise _unknown(text, before, template, where)
    if before.strip():
        turns.append(_Turn("system", pieces=[Piece(before)]))
    ends = [*(mark.start() for mark in found[1:]), len(text)]
    for mark, end in zip(found, ends, strict=True):
        _add(turns, mark, text[mark.end() : end], template, where)
    if not turns:
        raise _unknown(text, text, template, where)
    kept = [t for t in turns if t.pieces or t is turns[-1]]
    if len(kept) > 1 and not kept[-1].pieces and kept[-1].kind in ("user", "result"):
        kept.pop()  # GLM ends a reply with the mark of whoever speaks next
    messages = [turn.message(template) for turn in kept]
    return [m for i, m in enumerate(messages) if m.content or i == len(messages) - 1]


def _add(
    turns: list[_Turn], mark: re.Match[str], text: str, template: Template, where: str
) -> None:
    """Add a mark and the text after it to the turns, as one piece or a turn of its own."""
    kind = template.opens.get(mark[0])
    if kind is None and mark[0] not in template.inside:
        turns += [_role(mark, text, template, where)]
        if (
            len(turns) > 1
            and template.name == "harmony"
            and turns[-1].kind == turns[-2].kind == "assistant"
        ):
            turns[-2].pieces += turns.pop().pieces  # the channels of one turn
        return
    if kind is not None:
        turns.append(_Turn(kind, pieces=[Piece(text)] if trimmed(text, template) else []))
        return
    kind = template.inside[mark[0]]
    turn = turns[-1] if turns else _Turn("")
    is_empty = not any(trimmed(p.text, template) for p in turn.pieces if not p.label)
    is_tag = re.fullmatch(r"</?[a-z_:]+>", mark[0]) is not None
    if kind == "tools" and turn.kind in ("", "system", "user"):
        _piece(turns, "system", Piece(text, "Tools:"))
    elif kind in ("call", "thought") and turn.kind == "assistant":
        turn.pieces.append(Piece(text, "Call of a tool:" if kind == "call" else "Thought:"))
    elif kind == "result" and is_empty and turn.kind in ("user", "system", "result"):
        turn.kind = "result"
        turn.pieces.append(Piece(text, "Result of a tool:"))
    elif kind == "result" and turn.kind == "assistant" and not is_tag:
        turns.append(_Turn("result", pieces=[Piece(text, "Result of a tool:")]))
    elif kind == "sep" and turn.pieces and turn.pieces[-1].label:
        last = turn.pieces.pop()
        turn.pieces.append(last._replace(text=f"{last.text}\n{text}"))
    elif kind == "resume":
        if trimmed(text, template):
            turns.append(_Turn("assistant", pieces=[Piece(text)]))
    elif kind == "more" and (is_empty or turn.pieces[-1].label or not is_tag):
        if trimmed(text, template):
            turn.pieces.append(Piece(text))
    else:  # a mark where it has no meaning is quoted: a user may ask about <think>
        last = turn.pieces.pop() if turn.pieces else Piece("")
        turn.pieces.append(last._replace(text=f"{last.text}{quoted(mark)}{text}"))


def _piece(turns: list[_Turn], kind: str, piece: Piece) -> None:
    if not turns or turns[-1].kind != kind:
        turns.append(_Turn(kind))
    turns[-1].pieces.append(piece)


def _role(mark: re.Match[str], text: str, template: Template, where: str) -> _Turn:
    """The turn that a role's mark opens."""
    groups = mark.groupdict()
    said = (groups.get("r") or groups.get("end") or "").strip()
    detail = (groups.get("s") or "").strip()
    name, _, to = said.partition(" to=")
    if template.name == "harmony":
        channel, _, other = detail.partition(" to=")
        to = (to or other).split(" ")[0]
        if name not in ("system", "developer", "user", "assistant", ""):
            return _Turn("result", name, [Piece(text)])  # a tool speaks under its own name
        label = f"Call of the tool {to}:" if to else "Thought:" if channel == "analysis" else ""
        name = name or "assistant"
        return _Turn(KINDS[name], pieces=[Piece(text, label)] if text else [])
    if detail in ("tool", *_TOOLS):  # kimi: a system turn that says what it is
        name = detail
    if name in _TOOLS:
        return _Turn("system", pieces=[Piece(text, "Tools:")])
    kind = KINDS.get(name.lower())
    if kind is None or kind == "call":
        raise TemplateError(
            f"{where}: got a turn of the role {name!r} in text of the template {template.name}, "
            f"expected one of {', '.join(KINDS)}"
        )
    return _Turn(kind, pieces=[Piece(text)] if trimmed(text, template) else [])


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
    some = pattern_of(tokens)
    if not some:
        return text
    if at_start:
        found = re.match(rf"(?:{some}|\s)*", text)
        return text[found.end() :] if found else text
    end = len(text)
    while found := re.search(rf"(?:{some}|\s+)\Z", text[max(0, end - 80) : end]):
        end -= len(found[0])
    return text[:end]


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
