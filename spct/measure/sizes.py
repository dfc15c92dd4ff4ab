"""How large each benchmark is: rows by subset, and RMB's files.

`expected` counts source rows by subset ("" is the whole), so that a partial copy is never reported
as the official score. RMB publishes no counts of its pairs: they are lower bounds here, and the
list of its 98 files says whether a copy is whole.
"""

from __future__ import annotations

from collections.abc import Mapping

RB_SECTIONS: Mapping[str, Mapping[str, float]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,  # 447 items, weighted up to the code subsets
        **{f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")},
    },
}
RB_COUNTS = {s: int(n) for part in RB_SECTIONS.values() for s, n in part.items()} | {
    "math-prm": 447
}
LLMBAR_COUNTS = {"Natural": 100, "Neighbor": 134, "GPTInst": 92, "GPTOut": 47, "Manual": 46}
REALMISTAKE_TASKS = (
    "math_word_problem_generation",
    "finegrained_fact_verification",
    "answerability_classification",
)
REALMISTAKE_COUNTS = {
    f"{task}/{source}": n
    for task in REALMISTAKE_TASKS
    for source, n in (("gpt-4", 140), ("llama-2", 160))
}
RMB_COUNTS = {
    "Helpfulness BoN": 2109,
    "Harmlessness BoN": 1677,
    "Helpfulness Pairwise": 9305,
    "Harmlessness Pairwise": 6087,
}
_RMB_HARMLESSNESS = (*(f"S{i}" for i in range(1, 12)), "multi")
_RMB_HELPFULNESS: Mapping[str, tuple[str, ...]] = {
    "Brainstorming": ("Idea Development", "Problem Solving"),
    "Chat": ("Casual Conversation", "Discussion", "Supportive Conversation"),
    "Classification": ("Content Categorization", "Quality and Compliance Assessment"),
    "Closed QA": ("ContextBased", "OptionBased"),
    "Code": (
        "Data Management",
        "Development and Implementation",
        "Documentation",
        "Quality and Optimization",
    ),
    "Generation": ("Creative Writing", "Professional Content Generation"),
    "Open QA": (
        "Factual",
        "General Explanation",
        "Hypothetical Scenarios",
        "Interpretative Analysis",
        "Personal Opinion and Advice",
        "Technical and Practical Support",
    ),
    "Reasoning": (
        "Analytical Reasoning",
        "Critical Thinking",
        "Human Decision Making",
        "Logical Deduction",
        "Pattern Recognition",
    ),
    "Rewrite": (
        "Paraphrasing",
        "PostQuality Assessment Rewriting",
        "Textual ExpansionReduction",
        "Tone Adjustment",
    ),
    "Role Playing": ("General Character", "Specific Character"),
    "Summarization": ("Specialized Summaries", "Standard Summaries"),
    "Translation": (
        "GeneralExcerpt Language Translation",
        "Literary and Cultural Translation",
        "Technical and Scientific Translation",
    ),
}
RMB_FILES = tuple(
    f"{part}_set/{file}"
    for part in ("BoN", "Pairwise")
    for file in (
        *(f"Harmlessness/{name}" for name in _RMB_HARMLESSNESS),
        *(f"Helpfulness/{task}/{name}" for task, some in _RMB_HELPFULNESS.items() for name in some),
    )
)
