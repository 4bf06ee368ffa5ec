"""Messages of the gRPC services, generated from proto/ by `./dev proto` and never edited."""
