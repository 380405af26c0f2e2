from fakes import clips, collection, model  # noqa: F401
from shards import made  # noqa: F401
