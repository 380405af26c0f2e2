"""Studies: one question, several recipes, several seeds, one table.

``plan`` reads the YAML file, ``runner`` trains what is missing, ``results`` makes numbers of what is there, ``table``
and ``picture`` make something to look at.
"""
