"""The walls of the house, read from the syntax trees: who may import whom, and what stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmretrieval"

LEVELS = [
    {"types", "errors", "registry", "shown"},
    {"layers", "media", "data", "toyworld", "metrics", "distributed", "environment", "files", "processes", "allocator"},
    {"backbones"},
    {"encoders", "objectives", "codebook"},
    {"saved"},
    {"model", "recognizer"},
    {"zero_shot", "training", "evaluation", "collection", "search", "memorability", "paint"},
    {"sections", "recipe", "run", "evaluate", "study"},
    {"cli", "web", "__main__", "__init__"},
]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
NETWORKS = {"layers", "backbones", "encoders", "objectives", "codebook", "saved", "model", "recognizer"}
HEAVY = [
    *["accelerate", "av", "decord", "faiss", "fastapi", "librosa", "matplotlib", "pyarrow", "sklearn", "soundfile"],
    *["pymilvus", "ray", "tensorboard", "tokenizers", "torch", "torchaudio", "transformers", "typer"],
]


def files():
    return sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path, everywhere=True):
    """Full names a file imports, at its head or anywhere; a name imported from a package is part of the full name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree) if everywhere else at_import_time(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: import by full name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def at_import_time(tree):
    """Every node that runs when the file is imported: not inside a function, not for type checkers only."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def rooms_imported(path):
    return {name.split(".")[1] for name in imports(path) if name.startswith("mmretrieval.")} & LEVEL.keys()


def file_of(name):
    """The file of ours that an imported name lives in, or None."""
    if name.split(".")[0] != "mmretrieval":
        return None
    parts = name.split(".")[1:]
    while parts:
        base = PACKAGE.joinpath(*parts)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
        parts.pop()
    return PACKAGE / "__init__.py"


def loaded_by(path):
    """Top-level names of everything that importing a file of ours imports, ours followed to the end."""
    seen, waiting, outside = set(), [path], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        packages = [folder / "__init__.py" for folder in current.parents if PACKAGE in (folder, *folder.parents)]
        waiting += [init for init in packages if init.is_file()]
        for name in imports(current, everywhere=False):
            ours = file_of(name)
            if ours is None:
                outside.add(name.split(".")[0])
            else:
                waiting.append(ours)
    return outside


def test_every_room_has_a_level():
    unplaced = {room(path) for path in files()} - LEVEL.keys()
    assert not unplaced, f"give these a level in tests/test_layering.py: {sorted(unplaced)}"


def test_imports_go_downward():
    wrong = [
        f"{path.relative_to(PACKAGE)} (level {LEVEL[room(path)]}) imports {other} (level {LEVEL[other]})"
        for path in files()
        for other in sorted(rooms_imported(path))
        if room(path) in LEVEL and room(path) != "__init__" and LEVEL[other] > LEVEL[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_of_one_level_do_not_go_in_circles():
    graph = {name: set() for name in LEVEL}
    for path in files():
        if room(path) in LEVEL:
            graph[room(path)] |= rooms_imported(path) - {room(path)}
    while leaves := [name for name, others in graph.items() if not others]:
        graph = {name: others - set(leaves) for name, others in graph.items() if name not in leaves}
    assert not graph, f"these import each other in a circle: {graph}"


def test_data_imports_no_network():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files()
        if room(path) == "data"
        for name in imports(path)
        if name.split(".")[1:2] and name.split(".")[0] == "mmretrieval" and name.split(".")[1] in NETWORKS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_index_opens_without_torch():
    index = PACKAGE / "collection" / "index.py"
    assert not any(name.split(".")[0] == "torch" for name in imports(index))
    assert "torch" not in loaded_by(index)
    done = in_fresh_process("import mmretrieval.collection.index", ["torch"])
    assert done == ""


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by(PACKAGE / "__init__.py") & set(HEAVY)
    assert in_fresh_process("import mmretrieval", HEAVY) == ""


@pytest.mark.parametrize("statement", ["import mmretrieval.objectives", "import mmretrieval.evaluation.retrieval"])
def test_losses_and_reports_load_no_neighbour_of_torch(statement):
    assert in_fresh_process(statement, [name for name in HEAVY if name != "torch"]) == ""


def in_fresh_process(statement, names):
    """Names among ``names`` that are loaded after a statement in a new interpreter."""
    program = f"{statement}; import sys; print(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- the walls themselves would notice


def test_the_reader_of_imports_sees_what_it_should(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport numpy as np\n"
        "if TYPE_CHECKING:\n    import faiss\n"
        "try:\n    import av\nexcept ImportError:\n    av = None\n"
        "def f():\n    from mmretrieval.model import RetrievalModel\n"
    )
    assert set(imports(path)) == {"typing.TYPE_CHECKING", "numpy", "faiss", "av", "mmretrieval.model.RetrievalModel"}
    assert set(imports(path, everywhere=False)) == {"typing.TYPE_CHECKING", "numpy", "av"}
    assert rooms_imported(path) == {"model"}
    assert file_of("mmretrieval.types.Encoding") == PACKAGE / "types.py"
    assert file_of("mmretrieval.objectives.amm") == PACKAGE / "objectives" / "__init__.py"
    assert "torch" in loaded_by(PACKAGE / "objectives" / "functional.py")
