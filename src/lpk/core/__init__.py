"""The small core. It knows kinds of plugins, never a plugin."""
