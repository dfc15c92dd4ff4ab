"""`spct export-model`: the judge as a transformers folder, for vLLM, SGLang or a trainer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from spct.errors import ConfigError


def export_model(
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.")],
    model: Annotated[
        str | None,
        typer.Option(help="A .gguf file, model folder or adapter folder; the default is ours."),
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(help="A LoRA adapter on the model; without --model the shipped judge's."),
    ] = None,
    merge: Annotated[
        bool, typer.Option(help="Merge the adapter; --no-merge keeps it in OUT/adapter.")
    ] = True,
    dtype: Annotated[
        Literal["float16", "bfloat16", "float32"], typer.Option(help="How weights are stored.")
    ] = "float16",
) -> None:
    """Write a judge as a transformers folder, which vLLM and SGLang serve.

    The shipped judge's wording is written beside it: a judge judges well only with the templates
    that it was trained on.

    Example: spct export-model judge && vllm serve judge
    """
    from spct.engines.export import export_model as write
    from spct.models.shipped import shipped

    ours = shipped() if model is None and adapter is None else None
    chosen = str(ours.adapter) if ours else adapter
    if not merge and chosen is None:
        raise ConfigError("--no-merge: there is no adapter to keep apart; name one with --adapter")
    write(out, model, [chosen] if chosen else [], merge=merge, dtype=dtype)
    for template in ours.templates.values() if ours else ():
        shutil.copyfile(template, out / template.name)
    print(out)
    served = f"{out} --enable-lora --lora-modules judge={out}/adapter" if not merge else str(out)
    print(f"serve it: vllm serve {served}", file=sys.stderr)
    if ours:
        name = "judge" if not merge else str(out)
        print(
            f"judge with it: spct judge FILE --base-url http://127.0.0.1:8000/v1 --model {name} "
            f"--template {out}/pointwise.txt --max-tokens {ours.max_tokens}",
            file=sys.stderr,
        )
