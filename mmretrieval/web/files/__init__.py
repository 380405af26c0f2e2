"""Files of a collection as clients get them: whole, in ranges, as pictures and films that are kept."""
