"""Where `jaxdl launch` starts the processes of a run, one file a place."""
