"""A model behind HTTP: embeddings in OpenAI's form, predictions, documents, search and replies (docs/serve.md).

    guard.py      what is refused before a model is asked: keys, hosts, sizes
    app.py        the endpoints; shapes.py what they take and give
    worker.py     the one thread that owns the model, which encodes what arrives together in one batch
    served.py     the model, and what it can do; documents.py, conversations.py, curves.py the answers
    server.py     the socket, and how it ends

`fastapi`, `uvicorn` and `prometheus-client` come with the extra `serve`.
"""
