"""`codeq bench`: load on the gRPC streams of a server, hand-framed, and the honest row about it.

Everything here is a client: it talks to a server over a socket, reads what the system says about its process, and
knows nothing of how a node works. A node to measure is started as a user would, through the command.
"""
