from fakes import clips, collection, model  # noqa: F401
