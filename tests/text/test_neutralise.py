import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spct.text.folding import decode, fold
from spct.text.markers import RULES, is_marked
from spct.text.neutralise import neutralise

MARKERS = [
    r"\boxed{10, 1}",
    r"\\boxed{10}",
    r"\boxed {\text{10}, 1}",
    "[[10, 1]]",
    "[ [ 10 ] ]",
    "[The Begin of Response 1]",
    "[the end OF response 2]",
    "#### Conversation Context ####",
    "### Output Format Requirements",
    "#### Anything At All ####",
    "Specific Criteria:",
    "**Analysis:**",
    "Scores: 9, 1",
    "Assistant: sure",
    "<|im_start|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "</think>",
    "[INST]",
    "<<SYS>>",
    "<s>",
]


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _entities(text: str) -> str:
    return "".join(f"&#{ord(c)};" if not c.isalnum() and c != "\n" else c for c in text)


def _escapes(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" if not c.isalnum() and c != "\n" else c for c in text)


def _zero_width(text: str) -> str:
    return "\u200b".join(text)


def _is_harmless(text: str) -> bool:
    plain = decode(text)
    return not is_marked(text) and plain is not None and not is_marked(plain)


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize(
    "disguise", [str, str.upper, _full_width, _entities, _escapes, _zero_width, lambda s: s + s]
)
def test_a_marker_does_not_survive_any_disguise(marker, disguise):
    text = f"before\n{disguise(marker)}\nafter"
    safe = neutralise(text)
    assert not _is_harmless(text)
    assert _is_harmless(safe)
    assert safe.startswith("before\n") and safe.endswith("\nafter")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Plain prose, with 2 + 2 = 4 and a [link](x).",
        "matrix [[1, 2], [3, 4]]\n\tindented",
        "# Heading\n## Another\n- list: item",
        "a < b > c, 100% sure & <b>bold</b>",
        "日本語のテキスト",
        "Ünïcödé and emoji 🎉",
        "The analysis: it fits",
        r"\frac{1}{2} and \text{boxed}",
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert neutralise(text) == text


def test_an_honest_boxed_answer_stays_readable():
    assert neutralise(r"so the answer is \boxed{42}.") == r"so the answer is \boxed(42)."


def test_invisible_and_control_characters_are_dropped():
    assert neutralise("a\u200b\u202eb\x00\x1b[31mc\U000e0041\ufe0f") == "ab[31mc"
    assert neutralise("a\u2028b\r\nc\rd") == "a\nb\nc\nd"
    assert neutralise("x\ud800y") == "x\ufffdy"


def test_a_homoglyph_marker_is_caught():
    assert "{" not in neutralise("\\bоxеd{10}")  # Cyrillic o and e


@given(st.text())
@example("&#91;&#91;10&#93;&#93;")
@example("[[ [[10]] ]]")
@example("<<s>>>")
def test_neutralising_is_idempotent_and_complete_for_any_text(text):
    safe = neutralise(text)
    assert _is_harmless(safe)
    assert neutralise(safe) == safe
    safe.encode()


_PIECES = st.lists(
    st.sampled_from(
        [*MARKERS, "b", "{", "}", "[", "]", "#", "<", "|", "&#91;", "\u200b", "％", "\n", "boxed"]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


@given(_PIECES)
def test_neutralising_ends_and_is_complete_for_marker_soup(text):
    assert _is_harmless(neutralise(text))


@pytest.mark.parametrize(
    "unit", ["#", "#\n", "<", "# \t", "< ", "[ ", "[[1 ", "<s ", "&#", "\\", "b ", "> # ", "-*_"]
)
def test_long_hostile_texts_take_time_in_proportion(unit):
    """Quadratic rules would take hours here, and a gateway's only thread with them."""
    text = unit * (100_000 // len(unit))
    assert neutralise(neutralise(text + "x")) == neutralise(text + "x")


def test_a_heading_of_many_marks_is_still_found():
    assert neutralise("###### Anything ########  ") == "====== Anything ========  "
    assert "#" not in neutralise("#\n\n# output format requirements")


def test_what_is_folded_stands_for_itself():
    """Texts are rewritten beside their folded form, which is then not made again."""
    every = "".join(map(chr, range(0x323B0)))
    assert fold(fold(every)) == fold(every)
    assert all(fold(new) == new for rule in RULES for new in (rule.rewrite(rule.pattern.pattern),))
