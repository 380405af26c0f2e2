"""Recipes: YAML that people write, checked key by key, with the line of every mistake.

A recipe may ``include:`` another one, relative to itself, and then only states what differs. Values are overridden on
the command line as ``section.key=value``. Recipes that ship with the package are found by their path below
``recipes/``, with or without that prefix and ``.yaml``: ``toyworld/demo``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mmretrieval.errors import RecipeError, did_you_mean
from mmretrieval.sections import RECIPES, AnyRecipe, Recipe, RecognitionRecipe

Origins = dict[tuple[str, ...], str]

STUDY_KEY = "runs"
"""What a study has and a recipe has not; see ``mmretrieval.study``."""


def load_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe | RecognitionRecipe:
    """Read a recipe, resolve its includes, apply ``section.key=value`` overrides and check every key.

    Raises:
        RecipeError: No such recipe, YAML that does not parse, an unknown key or a wrong value. The message has file,
            line and the full name of the key.
    """
    file = find_recipe(path)
    values, origins = read_yaml(file)
    if STUDY_KEY in values:
        raise RecipeError(
            f"{shown(file)} is a study of several runs, not a recipe of one: type 'mmretrieval study {path}'"
        )
    for override in overrides or []:
        _apply_override(values, origins, override)
    return check_recipe(values, origins)


def check_recipe(values: dict, origins: Origins | None = None) -> Recipe | RecognitionRecipe:
    """Turn plain values into the recipe of their ``task``; the first mistake becomes a ``RecipeError``."""
    task = values.get("task", "retrieval")
    if not isinstance(task, str) or task not in RECIPES:
        where = _origin(("task",), origins or {})
        raise RecipeError(f"{where}task: got {task!r}; allowed: {', '.join(RECIPES)}")
    try:
        return RECIPES[task].model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error.errors()[0], origins or {}, RECIPES[task])) from None


def find_recipe(path: str | Path) -> Path:
    """Return the file of a recipe: a path as given, or the name of one that ships with the package."""
    given = Path(path)
    if given.is_file():
        return given
    name = given.with_suffix(".yaml") if given.suffix != ".yaml" else given
    parts = name.parts[1:] if name.parts[:1] == ("recipes",) else name.parts
    shipped = recipes_folder().joinpath(*parts)
    if shipped.is_file():
        return shipped
    known = shipped_recipes()
    raise RecipeError(
        f"no recipe '{path}': it is neither a file nor one of the shipped recipes."
        f"{did_you_mean('/'.join(parts).removesuffix('.yaml'), known)} Shipped: {', '.join(known)}."
    )


def recipes_folder() -> Path:
    """Return the folder of the recipes that ship with the package: inside it, or beside it in a source tree."""
    package = Path(__file__).parent
    return package / "recipes" if (package / "recipes").is_dir() else package.parent / "recipes"


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    folder = recipes_folder()
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml") if not is_study(p))


def is_study(file: Path) -> bool:
    """Return whether a YAML file is a study of several runs: it has ``runs:`` at its top level."""
    try:
        return any(line.startswith(f"{STUDY_KEY}:") for line in file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False


def dump_recipe(recipe: AnyRecipe) -> str:
    """Return the resolved recipe as YAML: every key with the value that was used."""
    return yaml.safe_dump(recipe.model_dump(), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path, seen: tuple[Path, ...] = ()) -> tuple[dict, Origins]:
    """Return the values of a YAML file, its includes resolved, and at which line of which file every key stands.

    Raises:
        RecipeError: Not readable, not YAML, no mapping, or includes that are missing or go in circles.
    """
    if path.resolve() in seen:
        raise RecipeError(f"{shown(path)} includes itself, by way of {', '.join(shown(p) for p in seen)}")
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{shown(path)}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{shown(path)}: a recipe is a mapping of sections, got {type(values).__name__}")
    origins: Origins = {}
    _locate(node, (), shown(path), origins)
    parent = values.pop("include", None)
    if parent is None:
        return values, origins
    base, base_origins = read_yaml(_included(path, parent, origins), (*seen, path.resolve()))
    return _merge(base, values), base_origins | origins


def _included(path: Path, parent: Any, origins: Origins) -> Path:
    file = path.parent / str(parent)
    if not file.is_file():
        raise RecipeError(f"{origins[('include',)]}: include: no file '{file}'")
    return file


def _locate(node: yaml.Node | None, key: tuple[str, ...], file: str, origins: Origins) -> None:
    """Remember at which line of which file every key stands."""
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        path = (*key, str(name.value))
        origins[path] = f"{file}, line {name.start_mark.line + 1}"
        _locate(value, path, file, origins)


def _merge(base: dict, delta: dict) -> dict:
    merged = dict(base)
    for key, value in delta.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_override(values: dict, origins: Origins, override: str) -> None:
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise RecipeError(f"override '{override}' is not of the form section.key=value, e.g. training.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"override '{override}': the value is not valid YAML") from None
    target = values
    for name in path[:-1]:
        if not isinstance(target.get(name), dict):
            target[name] = {}
        target = target[name]
    target[path[-1]] = value
    origins[path] = f"override '{override}'"


def _explain(error: dict, origins: Origins, recipe: type[AnyRecipe]) -> str:
    path = tuple(str(part) for part in error["loc"])
    where = _origin(path, origins)
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        known = _keys_of(path[:-1], recipe)
        section = ".".join(path[:-1]) or "the recipe"
        hint = did_you_mean(path[-1], known) or f" Its keys: {', '.join(sorted(known))}."
        return f"{where}{section} has no key '{path[-1]}'.{hint}"
    if error["type"] == "missing":
        return f"{where}{name} is missing: {_describe(path)}"
    if error["type"] == "value_error":
        return f"{where}{name}: {error['ctx']['error']}"
    return f"{where}{name}: got {error['input']!r}; {_lower_first(error['msg'])}"


def _origin(path: tuple[str, ...], origins: Origins) -> str:
    """Return "file, line n: " of a key, or of the nearest section around it."""
    while path and path not in origins:
        path = path[:-1]
    return f"{origins[path]}: " if path else ""


def _keys_of(path: tuple[str, ...], recipe: type[AnyRecipe]) -> list[str]:
    section: Any = recipe
    for name in path:
        if name not in section.model_fields:
            continue  # the name of an entry: its section is that of all entries
        field = section.model_fields[name]
        section = next((t for t in _types(field.annotation) if issubclass(t, BaseModel)), None)
        if section is None:
            return []
    return list(section.model_fields)


def _types(annotation: Any) -> list[type]:
    options = getattr(annotation, "__args__", (annotation,))
    return [option for option in options if isinstance(option, type)]


def _describe(path: tuple[str, ...]) -> str:
    parents = {"output": "the folder of the run", "data.train": "a manifest", "data.val": "a manifest"}
    return f"give {parents.get('.'.join(path), 'it a value')}"


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def shown(path: Path) -> str:
    """Return a recipe's path as people know it: below ``recipes/`` if it ships with the package."""
    folder = recipes_folder()
    return f"recipes/{path.relative_to(folder).as_posix()}" if path.is_relative_to(folder) else str(path)
