"""One loop trains every task: see ``loop.fit``; a run from recipe to report is ``mmretrieval.run``."""
