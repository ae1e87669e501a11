"""Exactly once, whatever happens: kills, failing calls, power cuts, company, held locks."""
