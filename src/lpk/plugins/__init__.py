"""The built-in plugins. Each comes through the entry-point group ``lpk``, as a stranger's does."""
