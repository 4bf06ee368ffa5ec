"""Outbound calls on behalf of tasks: the only place that opens connections to addresses that clients name.

target      a URL as it may be called, and every reason why it may not
resolver    from a name to checked addresses
sender      one signed POST, with every bound that a hostile receiver makes necessary
lanes       whose turn it is: bounded in total, per tenant and per host
courier     from what is due to what became of it
service     all of it, put together from settings
"""
