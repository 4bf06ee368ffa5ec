"""The operator's console at `/console`: one page that speaks to the admin API, as files that are served as they are."""
