"""An example of a third party's plugins for lpk."""
