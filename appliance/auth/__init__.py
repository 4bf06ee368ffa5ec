"""Who is calling: tokens, the keys that verify them, tenants and scopes. Must not know HTTP or tasks."""
