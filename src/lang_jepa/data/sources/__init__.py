"""From `data.train_file` to documents: files, folders, hub data sets, the built-in stories."""
