"""The one client of the daemon: asynchronous; the command line runs it with ``asyncio.run``."""
