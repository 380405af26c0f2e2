import sys
from pathlib import Path

# the videos and the model that sees colours are those of the collection's tests
sys.path.append(str(Path(__file__).parents[1] / "collection"))

from fakes import clips, collection, model  # noqa: E402, F401
