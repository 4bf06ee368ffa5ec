"""A server that answers every POST with 201 and stores nothing: stands in for the sketch that nodes are compared with.

It is a program of its own, with the arguments that such a sketch takes. Run by the tests of the load tests.
"""

import argparse
import asyncio
import importlib
import ssl

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, rest = head.lower().partition(b"content-length:")
            await reader.readexactly(int(rest.split(b"\r\n")[0]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--data")
    parser.add_argument("--tls", nargs=2)
    parsed = parser.parse_args()
    for name in ("producer_pb2", "worker_pb2"):
        importlib.import_module(name)
    context = None
    if parsed.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*parsed.tls)
    server = await asyncio.start_server(serve_connection, "127.0.0.1", parsed.port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
