"""The gRPC services: producer and worker streams, health and reflection. Knows neither sockets nor the store."""
