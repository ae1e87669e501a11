"""Which roots have rows? Few, and each index of dispatches begins with one."""

ROOTS = (
    "roots (root) AS (SELECT min(root) FROM dispatch_history UNION ALL "
    "SELECT (SELECT min(root) FROM dispatch_history WHERE root > roots.root) FROM roots WHERE roots.root IS NOT NULL)"
)
"""A table for `WITH RECURSIVE`: one step of a search for each, instead of a look at all rows. Its last is NULL."""
