"""Token sequences for a GPT: shards, their order, spans in them, and the bytes they represent."""
