"""The front: one port, every protocol.

Owns listening, sniffing, TLS, HTTP/1.1, HTTP/2, drain and every limit on what a peer can make the process hold or do.
It hands a `Request` to one handler function and writes the `Response` that comes back, now or later. It must not know
tasks, tokens or storage. Everything here runs on the event loop's thread.

    listener ─► sniffer, client_hello ─► connection ─► http1 | http2 ─► handler(Request) ─► request.respond(Response)
"""
