"""A plan of a grid or sweep as people write it: axes, seeds, and settings by name, as YAML or JSON.

The keys are the options of ``sd-concord sweep`` (``hires-steps``, or ``hires_steps``); an axis is the text of the
option, or a mapping of one key such as ``{sampler: [euler, dpmpp_2m]}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .axis import Axis
from .errors import BadFile, BadValue, Missing
from .value_lists import number_range, split_values

PLACES = ("x", "y", "z")
ENDINGS = (".yaml", ".yml", ".json")
_RANKS = {
    "prompt": 0,
    "negative_prompt": 0,
    "sampler": 0,
    "scheduler": 0,
    "search": 2,
    "lora": 3,
    "recipe": 4,
    "option": 5,
}


def rank_of(axis: Axis) -> int:
    """Return the place of ``axis`` in the order in which values are set: what others write into comes first."""
    kinds = ("search", "option", "recipe")
    return _RANKS.get(axis.kind if axis.kind in kinds else axis.name.split(" ")[0], 1)


def is_plan_file(text: str | None) -> bool:
    """Tell whether ``text`` names a plan's file rather than being a plan, or a prompt."""
    return text is not None and Path(text).suffix.lower() in ENDINGS and "\n" not in text


def read_plan(text: str) -> dict[str, Any]:
    """Return the plan that ``text`` is, or whose file it names, as a mapping of settings.

    Raises ``BadFile`` for a file that cannot be read, ``BadValue`` for what is no mapping, ``Missing`` for YAML
    without PyYAML.
    """
    if not is_plan_file(text.strip()):
        return _mapping("the plan", text, is_json=text.lstrip().startswith("{"))
    path = Path(text.strip()).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadFile(f"the plan {path} cannot be read ({why}); check the path") from error
    return _mapping(f"the plan {path}", content, is_json=path.suffix.lower() == ".json")


def axis_text(name: str, value: Any) -> str:
    """Return an axis as it is typed (``sampler=euler,dpmpp_2m``), from the text or mapping under key ``name``."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:  # pyright: ignore[reportUnknownArgumentType]
        raise BadValue(f"the plan's {name} is {value!r}; write {name}: sampler=euler,dpmpp_2m")
    axis, values = next(iter(value.items()))  # pyright: ignore
    return f"{axis}={_listed(values)}"


def seeds_text(value: Any) -> str:
    """Return seeds as they are typed, from the number, text or list of a plan."""
    return _listed(value)


def read_seeds(text: str, name: str = "--seeds") -> int | tuple[int, ...]:
    """Return how many seeds ``4`` asks for, or those of ``7,9`` or ``100-107``.

    ``name``: what a message calls them.  Raises ``BadValue``.
    """
    texts = [one for part in split_values(text) for one in number_range(part, whole=True) or [part]]
    try:
        seeds = [int(one) for one in texts]
    except ValueError:
        seeds = []
    if len(seeds) == 1 and text.strip().isdecimal() and seeds[0] >= 1:
        return seeds[0]
    if len(seeds) > 1 and min(seeds) >= 0 and len(set(seeds)) == len(seeds):
        return tuple(seeds)
    raise BadValue(f"{name} {text!r}; write how many, such as 4, or different seeds, such as 7,9 or 100-107")


def _mapping(what: str, text: str, *, is_json: bool) -> dict[str, Any]:
    data: Mapping[Any, Any] = _json(what, text) if is_json else _yaml(what, text)
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadFile(f"{what} is no mapping; write lines such as 'x: sampler=euler,dpmpp_2m'")
    return data


def _json(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadFile(f"{what} is no JSON ({error}); mend it there") from error


def _yaml(what: str, text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  (an optional third party)
    except ImportError as error:
        raise Missing("plans in YAML need PyYAML; pip install pyyaml, or write the plan as JSON") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadFile(f"{what} is no YAML ({_yaml_problem(error)}); mend it there") from error


def _yaml_problem(error: Any) -> str:
    """Return what is wrong with YAML, and where."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _listed(values: Any) -> str:
    """Return a list of values as text, parted by commas; one that is no list as it is."""
    if not isinstance(values, list):
        return str(values)
    return ",".join(_quoted(str(one)) for one in values)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or any(c in text for c in ',"\n') else text
