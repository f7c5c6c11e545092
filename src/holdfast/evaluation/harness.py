"""Export of a suite as task files of EleutherAI's lm-evaluation-harness, so that others can measure the same.

One task for each section: a YAML file, its items as JSON Lines, and a small module with the functions that the YAML names.
Invariants: a task counts what the section counts: the same questions, the same right answers in the same normal form, the
same cuts of a text; what the harness can't express so is refused with a reason, never approximated. No file is written here.

Source: the harness's ``docs/task_guide.md``, version 0.4. What a task file can't say stands in the README that goes along:
the questions are conversations, so the harness has to apply the base's chat template; it must add no begin token of its own.
"""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING

from holdfast.errors import UntrustedRecipe
from holdfast.evaluation import metrics
from holdfast.evaluation.items import Answers, Choices, Passage
from holdfast.evaluation.scorers import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.canonical import Json
    from holdfast.evaluation.items import Item
    from holdfast.evaluation.metrics import SectionSpec
    from holdfast.evaluation.spec import Suite

MODULE = "utils.py"
README = "README.md"
_UNKNOWN = {
    "numeric": "the harness compares numbers as texts only, without a tolerance or units",
    "regex": "the harness has no metric that matches a pattern of the item's own in linear time",
    "json_schema": "the harness has no JSON schema",
    "code": "the harness runs programs in its own process, with nothing around them",
}
_ACCURACY = {"none": "acc", "characters": "acc_norm", "bytes": "acc_bytes"}
_MODULE = '''"""What the task files beside this module name: reading items, and writing answers in their normal form."""

import json
import unicodedata
from pathlib import Path

import datasets


def rows(file, **_):
    """Read a task's items."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in text.splitlines()])}


def stripped(answers, _):
    """Leave out white space at the ends."""
    return [[one.strip() for one in each] for each in answers]


'''
_NORMALISED = '''
def normal_{at}(answers, _):
    """Write answers in the normal form of section {name}."""
    return [[normalise(one, {options}) for one in each] for each in answers]
'''


def export(suite: Suite, sections: Sequence[str] = ()) -> dict[str, bytes]:
    """Write a suite as task files.

    Args:
        suite: The suite.
        sections: The sections to write; all of them if none is named.

    Returns:
        File names and their contents.

    Raises:
        UntrustedRecipe: With the reason for every section that can't be expressed, or if a name is unknown.
    """
    known = {one.name: one for one in suite.spec.section}
    wanted = list(sections) or list(known)
    reasons = {
        name: refusal(suite, name) if name in known else "the suite has no such section" for name in wanted
    }
    if refused := [f"section {name!r}: {why}" for name, why in reasons.items() if why]:
        raise UntrustedRecipe(
            "suite.export",
            f"The suite can't be written for the harness: {'; '.join(refused)}.",
            remedy="Name the sections that can be written with --section.",
            refused=refused,
        )
    files: dict[str, bytes] = {}
    functions = ""
    for at, section in enumerate(known[name] for name in wanted):
        task = f"{suite.spec.name}_{section.name}"
        rows = [_row(item, section) for item in suite.items if item.section == section.name]
        files[f"{task}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
        files[f"{task}.yaml"] = _task(suite, section, task, at).encode()
        if isinstance(section, metrics.NormalisedSection):
            functions += _NORMALISED.format(at=at, name=section.name, options=_options(section))
    source = inspect.getsource(normalised.normalise) + "\n" if functions else ""
    files[MODULE] = (_MODULE + source + functions).rstrip("\n").encode() + b"\n"
    files[README] = _readme(suite, [known[name] for name in wanted]).encode()
    return files


def refusal(suite: Suite, section: str) -> str:
    """Say why a section can't be expressed in the harness.

    Args:
        suite: The suite.
        section: The section's name.

    Returns:
        A few words; empty if it can be expressed.
    """
    metric = suite.section(section).metric
    if metric in _UNKNOWN:
        return _UNKNOWN[metric]
    for item in suite.items:
        if item.section == section and len([one for one in item.messages if one.role != "system"]) > 1:
            return f"item {item.id!r} is a conversation of several turns, and the harness asks one question"
    return ""


def _row(item: Item, section: SectionSpec) -> dict[str, Json]:
    row: dict[str, Json] = {"id": item.id}
    if isinstance(item.wanted, Passage):
        return row | {"text": item.wanted.text}
    system = next((one.content for one in item.messages if one.role == "system"), "")
    row |= {"system": system, "question": item.messages[-1].content}
    if isinstance(item.wanted, Choices):
        return row | {"choices": list(item.wanted.texts), "right": item.wanted.right}
    texts = item.wanted.texts if isinstance(item.wanted, Answers) else ()
    if isinstance(section, metrics.NormalisedSection):
        form = {name: getattr(section, name) for name in ("casefold", "punctuation", "white_space")}
        return row | {"answers": [normalised.normalise(one, **form) for one in texts]}
    return row | {"answers": [one.strip() for one in texts]}


def _task(suite: Suite, section: SectionSpec, task: str, at: int) -> str:
    """Write a task's YAML; every value is JSON, which is YAML too, but for the names of functions."""
    lines = {
        "task": json.dumps(task),
        "tag": json.dumps([suite.spec.name]),
        "custom_dataset": "!function utils.rows",
        "dataset_kwargs": json.dumps({"file": f"{task}.jsonl"}),
        "test_split": '"test"',
        "num_fewshot": "0",
        "metadata": json.dumps({"version": suite.spec.version}),
    }
    if isinstance(section, metrics.BitsSection):
        lines |= {
            "output_type": '"loglikelihood_rolling"',
            "doc_to_text": '""',
            "doc_to_target": '"text"',
            "metric_list": _metric("bits_per_byte", "bits_per_byte", better="lower"),
        }
    elif isinstance(section, metrics.ChoiceSection):
        lines |= {
            "output_type": '"multiple_choice"',
            "description": '"system"',
            "doc_to_text": '"question"',
            "doc_to_choice": '"choices"',
            "doc_to_target": '"right"',
            "target_delimiter": '""',
            "metric_list": _metric(_ACCURACY[section.normalise], "mean"),
        }
    else:
        form = f"normal_{at}" if isinstance(section, metrics.NormalisedSection) else "stripped"
        lines |= {
            "output_type": '"generate_until"',
            "description": '"system"',
            "doc_to_text": '"question"',
            "doc_to_target": '"answers"',
            "generation_kwargs": json.dumps({"until": [], "do_sample": False, "max_gen_toks": suite.most}),
            "filter_list": f'\n  - name: "none"\n    filter:\n      - function: "custom"\n        filter_fn: !function utils.{form}'
            '\n      - function: "take_first"',
            "metric_list": _metric("exact_match", "mean"),
        }
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def _metric(name: str, aggregation: str, *, better: str = "higher") -> str:
    return json.dumps([{"metric": name, "aggregation": aggregation, "higher_is_better": better == "higher"}])


def _options(section: metrics.NormalisedSection) -> str:
    names = ("casefold", "punctuation", "white_space")
    return ", ".join(f"{name}={getattr(section, name)!r}" for name in names)


def _readme(suite: Suite, sections: Sequence[SectionSpec]) -> str:
    lines = [
        f"# {suite.spec.name} {suite.spec.version}",
        "",
        suite.spec.description,
        "",
        f"Licence of the items: {suite.spec.licence}.",
        "",
        "Task files for lm-evaluation-harness 0.4, one for each section. The figures are those of Holdfast when the harness",
        "applies the base's chat template, adds no begin token of its own, and computes in float32:",
        "",
        "    lm_eval --include_path . --tasks "
        + suite.spec.name
        + " --apply_chat_template --fewshot_as_multiturn true \\",
        "      --model hf --model_args pretrained=BASE,dtype=float32,add_bos_token=False",
        "",
    ]
    for one in sections:
        if isinstance(one, metrics.BitsSection):
            lines += [
                f"Section {one.name} is cut into windows of {one.window} tokens: add `max_length={one.window}` to the model's",
                "arguments and run it by itself.",
                "",
            ]
    return "\n".join(lines)
