"""The front in a process of its own, so that its memory can be measured: the listening socket and an engine's link are inherited."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.integration.serving.stack import ENGINE, LABEL, Front, MemoryRecorder, Puppet, make_settings

from holdfast.serving import keys
from holdfast.serving.front.house import House
from holdfast.serving.front.listener import Bounds
from holdfast.serving.front.protocol import Patience
from holdfast.serving.front.server import Server


class Alone(Front):
    """The same as ``Front``, in another process; its recorder is out of reach."""

    def __init__(self, *, head=10.0, stall=30.0, linger=5.0, connections=2048, address=1536, **limits):
        minted = keys.mint("tax-office", ["base"], LABEL, keys.SCOPES)
        self.text, self.key = minted.secret, minted.key
        self.path = None
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = self.listening.getsockname()
        self._link, theirs = socket.socketpair()
        order = {
            "listen": self.listening.fileno(),
            "link": theirs.fileno(),
            "key": self.key.to_json(),
            "limits": limits,
            "bounds": [connections, address],
            "patience": [head, stall, linger],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.serving.alone", json.dumps(order)],
            pass_fds=(self.listening.fileno(), theirs.fileno()),
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        theirs.close()
        assert self._process.stdout.readline() == b"ready\n"
        self.puppet = None

    def attach(self, name=ENGINE):
        del name
        return self._link

    def moved(self, **options):
        """Give the engine a will."""
        self.puppet = Puppet(self, up_seen=False, **options)
        return self.puppet

    @property
    def rss(self):
        """Resident memory of the front in bytes."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def metric(self, line):
        """Read a figure of the front."""
        with self.http() as client:
            shown = client.get("/metrics").text
        return next((float(one.split()[-1]) for one in shown.splitlines() if one.startswith(line)), 0.0)

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self.listening.close()
        if self.puppet is not None:
            self.puppet.close()
        else:
            self._link.close()


async def _serve(order):
    recorder = MemoryRecorder()
    settings = make_settings(adapters=(), **order["limits"])
    house = House(settings, {}, keys.KeyRing([keys.parse(order["key"])]), recorder, recorder.fact)
    bounds = Bounds(*order["bounds"], Patience(*order["patience"]))
    server = Server(house.app(), socket.socket(fileno=order["listen"]), house.refused, None, bounds)
    house.metrics.gauge("connections", "Connections open.", lambda: server.connections)
    await house.engines.attach(ENGINE, socket.socket(fileno=order["link"]))
    serving = asyncio.create_task(server.run_when_told())
    await server.open()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await serving
    await house.close()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
