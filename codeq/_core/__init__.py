"""What the client does, without doing any of it: no socket, thread, clock or random source in this package."""
