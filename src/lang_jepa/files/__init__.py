"""Atomic files, locks, arrays and hashes; the one package that every other may use."""
