"""The commands that talk to a node, over REST: a client like any other, which knows nothing of how a node works."""
