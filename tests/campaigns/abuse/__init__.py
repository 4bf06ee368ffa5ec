"""Attacks on a real node: each refused by its limit and counted, and what a good client feels beside them.

    python -m tests.campaigns.abuse [--seconds S] [--only WORD] [--patient] [--no-latency]

Every attack is played once, all of them side by side, and must be refused in its own way and counted under its own
reason. Then each that can be repeated is repeated for some seconds from other processes, beside a good client (REST and
streams), whose latency is compared with what it is beside harmless requests that cost the node as much CPU.
"""
