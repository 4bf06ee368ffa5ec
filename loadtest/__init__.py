"""The programs behind the figures of this project: each measures one promise and prints it beside its target.

Run one as `python -m loadtest.NAME` from the root of the source tree. Nothing in here is part of the product; it may
use the product's own modules to prepare stores and tokens, and talks to a running node like any client.
"""
