"""HAProxy before two nodes of each role, which a trial drains, and the API as a client behind it sees it."""

import http.client

from proxy import Haproxy, TlsClient
from signet import Answer, wait_until

CALL_SECONDS = 45.0
NODES = ("lmtp1", "lmtp2", "api1", "api2")


class Entrance(Haproxy):
    """Nodes have the names that HAProxy gives them: lmtp1, api2."""

    def await_up(self, seconds: float = 60.0) -> None:
        """Returns when all nodes are in use."""

        def all_up():
            states = self.states()
            return all(states.get(name) == "UP" for name in NODES)

        wait_until("HAProxy uses all four nodes", all_up, seconds)

    def drain(self, name: str, seconds: float = 60.0) -> None:
        """Gives the node nothing new, and returns when it has nothing any more."""
        self.set_state(name, "drain")
        wait_until(f"{name} has no session", lambda: self.servers().get(name, {}).get("scur") == "0", seconds)

    def set_state(self, name: str, state: str) -> None:
        super().set_state(f"{name.rstrip('12')}/{name}", state)


class Caller(TlsClient):
    """The API through HAProxy. Unlike its base it tries each call once."""

    def connect(self) -> http.client.HTTPConnection:
        connection = super().connect()
        connection.timeout = CALL_SECONDS
        return connection

    def call(self, method, path, body=None, headers=None) -> Answer:
        return self.try_call(method, path, body, headers)
