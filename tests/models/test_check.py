import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spct.models.check import (
    CheckFailed,
    Finding,
    check_folder,
    check_model,
    check_remote,
    check_scorer,
)
from spct.models.hf_scorer import HFScorer, load_scorer
from spct.models.http_scorer import HTTPScorer


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def scorer(head_folder: Path) -> HFScorer:
    loaded = load_scorer(head_folder)
    loaded.model.score.weight.data.mul_(5)  # moved away from its initialisation, as training does
    return loaded


async def test_a_sound_scorer_passes_every_question(scorer: HFScorer) -> None:
    assert {f.name for f in await check_model(scorer) if f.status != "passed"} == set()


async def test_a_head_as_it_is_drawn_is_pointed_out(head_folder: Path) -> None:
    head = by_name(await check_folder(head_folder))["head"]
    assert head.status == "warned" and "never trained" in head.measured


async def test_a_model_without_a_head_fails_with_the_reason(lm_folder: Path) -> None:
    (finding,) = await check_folder(lm_folder)
    assert finding.status == "failed" and "no trained head" in finding.measured


async def test_a_head_of_zeros_fails(scorer: HFScorer) -> None:
    scorer.model.score.weight.data.zero_()
    findings = by_name(await check_model(scorer))
    assert findings["head"].status == "failed"
    assert findings["spread"].status == "failed"


async def test_a_config_that_pads_with_the_end_token_is_found_with_its_cure(
    scorer: HFScorer,
) -> None:
    scorer.model.config.get_text_config().pad_token_id = 2  # also ends every conversation
    findings = by_name(await check_model(scorer))
    assert findings["position"].status == "failed"
    assert "pad_token_id" in findings["position"].fix
    assert findings["padding"].status == "passed"  # the scorer itself reads the last token


async def test_a_doubled_bos_is_found(head_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "doubled"
    shutil.copytree(head_folder, folder)
    template = folder / "chat_template.jinja"
    template.write_text("<bos>" + template.read_text())
    bos = by_name(await check_folder(folder))["BOS"]
    assert bos.status == "failed" and "begins with 2" in bos.measured and bos.fix


@pytest.fixture
async def remote(score_server: str, request: pytest.FixtureRequest) -> AsyncIterator[HTTPScorer]:
    scorer = HTTPScorer(base_url=score_server, model=request.param)
    yield scorer
    await scorer.aclose()


@pytest.mark.parametrize("remote", ["tiny"], indirect=True)
async def test_an_honest_server_fails_no_question(remote: HTTPScorer) -> None:
    findings = await check_remote(remote, n_long=700)
    assert not [f for f in findings if f.status == "failed"]
    assert by_name(findings)["truncation"].status == "passed"


@pytest.mark.parametrize("remote", ["squashing"], indirect=True)
async def test_a_server_with_a_sigmoid_is_pointed_out(remote: HTTPScorer) -> None:
    activation = by_name(await check_remote(remote, n_long=700))["activation"]
    assert activation.status == "warned" and "use_activation" in activation.fix


@pytest.mark.parametrize("remote", ["cutting"], indirect=True)
async def test_a_server_that_cuts_in_silence_is_found(remote: HTTPScorer) -> None:
    truncation = by_name(await check_remote(remote, n_long=700))["truncation"]
    assert truncation.status == "failed" and "truncate_prompt_tokens" in truncation.fix


def test_the_report_is_told_in_lines_and_raises_on_a_failure(
    lm_folder: Path, head_folder: Path, tmp_path: Path
) -> None:
    report = check_scorer(lm_folder)
    assert str(report).splitlines()[1].startswith("failed  head:")
    with pytest.raises(CheckFailed, match="no trained head"):
        report.raise_if_bad()
    config = tmp_path / "rm.toml"
    config.write_text(f'[scorer]\nfolder = "{head_folder}"\n')
    named = check_scorer(config)
    named.raise_if_bad()
    assert len(named.findings) == 8


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("BOS", "failed", "two", "one")) == "failed  BOS: two -> one"
