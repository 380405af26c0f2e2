"""What is installed is what is in the tree."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent


def settings():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_of_the_tree_is_installed():
    named = set(settings()["options"]["packages"].split())
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("mmretrieval/**/*.py")}
    assert named == folders | {"mmretrieval.recipes"}


def test_every_recipe_is_packed():
    patterns = settings()["options.package_data"]["mmretrieval.recipes"].replace("\n", " ").split(",")
    packed = {path for pattern in patterns for path in (ROOT / "recipes").glob(pattern.strip())}
    assert packed == set((ROOT / "recipes").rglob("*.yaml"))


def test_every_recipe_says_what_it_is():
    for recipe in (ROOT / "recipes").rglob("*.yaml"):
        assert recipe.read_text().startswith("# "), recipe
