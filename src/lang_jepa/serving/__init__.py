"""Serve a model over HTTP: embeddings in OpenAI's format, predictions, documents, search, replies (docs/serve.md).

    guard.py      refuses requests before they reach the model: keys, hosts, sizes
    app.py        the endpoints; shapes.py: their request and response bodies
    worker.py     the one thread that owns the model and encodes in one batch what arrives together
    served.py     the model and what it can do; documents.py, curves.py: the answers
    server.py     the socket, start and shutdown

`fastapi`, `uvicorn` and `prometheus-client` come with the extra `serve`.
"""
