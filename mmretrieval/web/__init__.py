"""The page and its HTTP interface: ``mmretrieval serve``."""
