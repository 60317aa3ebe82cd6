"""Files that are whole or not there, locks, arrays and hashes; the one room that every other may use."""
