"""``ferbench new-plugin``: a package of one's own that passes its own tests on the first run."""
