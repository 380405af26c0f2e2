"""The command line: one function per verb, each a thin layer over the package."""
