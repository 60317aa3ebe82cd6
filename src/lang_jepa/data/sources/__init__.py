"""From `data.train_file` to documents: files, folders, hub datasets and the built-in stories."""
