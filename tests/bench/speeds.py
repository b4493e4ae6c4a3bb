"""The speed of Signet on the four servers of a cluster, beside what their drivers reach on them in the same run.

One process a role, unless a case says otherwise. The bare drivers are backends/cluster/examples/bare; the tokens that
they put and ask for are those that a node sent, written down on their way.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import table
from cluster import Platform
from corpus import make_corpus
from generators import ROOT, SEARCHED, build, machine, make_load, run_case, say, wait_for_quiet
from servers import Servers
from signet import PROGRAM, Client, wait_until
from tap import Tap

SESSIONS = 32
PROCESSES = (1, 2, 4)
DEFINITION = ROOT / "schema/elasticsearch/messages-1.json"

# How much of everything: accounts, messages, readings, seconds of a bare driver.
WHOLE = dict(corpus=10000, accounts=20, recorded=2000, delivered=6000, shared=3000, turns=3, mailbox=10000, reads=400, seconds=10, bulk=6000, rounds=5)
SMOKE = dict(corpus=400, accounts=4, recorded=200, delivered=400, shared=200, turns=1, mailbox=400, reads=50, seconds=2, bulk=400, rounds=1)
MAILBOX, SMOKE_MAILBOX = 1_000_000, 10_000


class Bench:
    """A platform, what loads it, and what was measured."""

    def __init__(self, options, place, platform: Platform, servers: Servers, tap: Tap, load):
        self.options, self.place, self.platform, self.servers, self.tap, self.load = options, place, platform, servers, tap, load
        self.size = SMOKE if options.smoke else WHOLE
        self.corpus, self.queries = make_corpus(load, place.path, self.size["corpus"])
        self.rows: list[dict] = []
        self.runs: list[dict] = []
        self.sent = 0
        names = ["workers-1", "workers-2", "api-1", "api-2", *(f"lmtp-{number}" for number in range(1, max(PROCESSES) + 1))]
        self.nodes = {name: platform.add(name) for name in names}
        for name in ("workers-2", "api-2"):
            self.nodes[name].environment["SIGNET_ELASTICSEARCH_URLS"] = tap.url

    # What is measured.

    def timed(self, what: str, measure) -> dict:
        """Runs a measurement when the machine is quiet, and notes beside it what else the machine did."""
        quiet = 0.0 if self.options.smoke else wait_for_quiet()
        busy, ticks, stolen = *machine(), steal()
        found = measure()
        busy_now, ticks_now = machine()
        ticks = max(1, ticks_now - ticks)
        found |= dict(
            what=what,
            busy_before=round(quiet, 2),
            busy=round((busy_now - busy) / ticks, 2),
            stolen=round((steal() - stolen) / ticks, 3),
            load=os.getloadavg(),
        )
        self.runs.append(found)
        return found

    def bare(self, case: str, *arguments) -> dict:
        name = self.platform.name
        to = {
            "rows": ["--nodes", self.servers.addresses["CASSANDRA"], "--keyspace", f"{name}_bare"],
            "slice": ["--nodes", self.servers.addresses["CASSANDRA"], "--keyspace", f"{name}_bare"],
            "publishes": ["--url", self.servers.addresses["RABBITMQ"].split(",")[0], "--queue", f"{name}.bare"],
            "bulk": ["--url", self.servers.addresses["ELASTICSEARCH"].split(",")[0], "--index", f"{name}-bare", "--definition", DEFINITION],
            "search": ["--url", self.servers.addresses["ELASTICSEARCH"].split(",")[0]],
        }[case]
        copies = {
            "rows": ["--copies", self.platform.variables["SIGNET_CASSANDRA_COPIES"]],
            "slice": ["--copies", self.platform.variables["SIGNET_CASSANDRA_COPIES"]],
            "publishes": ["--copies", self.platform.variables["SIGNET_RABBITMQ_COPIES"]],
            "bulk": ["--replicas", self.platform.variables["SIGNET_ELASTICSEARCH_REPLICAS"]],
        }.get(case, [])
        found = self.timed(f"bare {case}", lambda: program("bare", case, *to, *copies, *arguments))
        say(f"bare {case}: " + ", ".join(f"{key} {value:,.1f}" for key, value in found.items() if key.endswith(("_per_s", "_each"))))
        return found

    def row(self, title: str, ours, bare, kind=None, floor=None, aim=None, below=None) -> None:
        """`below`: the aim is met only by less than that, too."""
        self.rows.append(dict(row=title, ours=ours, bare=bare, kind=kind, floor=floor, aim=aim, below=below))

    # Steps.

    def start(self) -> None:
        self.platform.apply_schema()
        for name in ("lmtp-1", "api-1", "api-2"):
            self.nodes[name].start()
        self.platform.add_domain("bench.example")
        for number in range(1, self.size["accounts"] + 1):
            self.platform.create_account(f"user{number:03}@bench.example")
        self.platform.create_account(SEARCHED)

    def deliver(self, what: str, messages: int, lmtp=("lmtp-1",), user=None, warmup=0) -> dict:
        """Delivers over all the sessions together; deliveries a second, all processes taken together."""
        commands = []
        for name in lmtp:
            to = ["--user", user] if user else ["--users", self.size["accounts"]]
            share = dict(sessions=SESSIONS // len(lmtp), messages=messages // len(lmtp), warmup=warmup // len(lmtp))
            arguments = [*self.load.lmtp(), "--addr", f"127.0.0.1:{self.nodes[name].lmtp_port}", "--corpus", self.corpus, *to]
            arguments += [part for name, value in share.items() for part in (f"--{name}", value)]
            commands.append(list(map(str, arguments)))
        before = [calls(self.nodes[name]) for name in lmtp]

        def measure() -> dict:
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
            results = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in running]
            done = sum(result["ok_messages"] for result in results)
            wall = max(result["wall_s"] for result in results)
            errors = [error for result in results for error in (result.get("errors") or {}).items()]
            complete = not errors and all(process.returncode == 0 for process in running)
            return dict(ended=time.monotonic(), messages=done, wall_s=wall, per_s=done / wall, latency=results[0]["latency"], errors=errors, complete=complete)

        found = self.timed(what, measure)
        self.sent += found["messages"] + warmup // len(lmtp) * len(lmtp)
        found["calls"] = [spent(calls(self.nodes[name]), earlier) for name, earlier in zip(lmtp, before)]
        say(f"{what}: {found['per_s']:,.0f}/s{'' if found['complete'] else ' INCOMPLETE'}")
        return found

    def wait_until_indexed(self, worker: str) -> float:
        """When no job waited any more, and all that was sent was found."""
        node, states = self.nodes[worker], rb'^signet_queue_jobs\{state="(?:ready|leased|delayed)"\} (\d+)'

        def done() -> bool:
            # Whoever counts jobs has RabbitMQ work.
            time.sleep(0.2)
            waits = sum(map(int, re.findall(states, node.metrics(), re.M)))
            return not waits and self.found() == self.sent

        wait_until(f"all of {self.sent} messages are found", done, 900)
        return time.monotonic()

    def found(self) -> int:
        return self.servers.elasticsearch("GET", f"/{self.platform.name}/_count")["count"]

    def drain(self, what: str) -> float:
        """Starts the workers on what waits, and stops them when it is done; messages a second."""
        before = self.found()

        def measure() -> dict:
            began = time.monotonic()
            self.nodes["workers-1"].start()
            wall = self.wait_until_indexed("workers-1") - began
            return dict(wall_s=wall, per_s=(self.sent - before) / wall, calls=[spent(calls(self.nodes["workers-1"]), {})])

        found = self.timed(what, measure)
        say(f"{what}: {found['per_s']:,.0f}/s")
        self.nodes["workers-1"].stop(60)
        return found["per_s"]

    def read(self, what: str, path: str, *arguments) -> dict:
        """One client's requests to the first api node; their latencies in ms."""
        client = self.platform.client(SEARCHED)
        node = self.nodes["api-1"]
        url = f"http://127.0.0.1:{node.api_port}{path}"
        command = [*self.load.http(), "--url", url, "--header", f"Authorization: Bearer {client.token}", *arguments]
        before = calls(node)
        options = {"count": self.size["reads"], "warmup": 50, "cpu-pid": node.process.pid}
        found = self.timed(what, lambda: run_case(list(map(str, command)), options, patient=False))
        found["calls"] = [spent(calls(node), before)]
        latency = found["latency"]["all"]
        say(f"{what}: p50 {latency['p50_ms']:.2f} ms, p99 {latency['p99_ms']:.2f} ms")
        return latency

    # Cases.

    def record_documents(self) -> pathlib.Path:
        """What the workers send to Elasticsearch for some messages."""
        file = self.place / "documents.jsonl"
        self.deliver("to be recorded", self.size["recorded"])
        self.tap.record(file)
        self.nodes["workers-2"].start()
        self.wait_until_indexed("workers-2")
        self.nodes["workers-2"].stop(60)
        self.tap.record(None)
        return file

    def warm_up(self) -> None:
        """Delivers and indexes until a round is hardly faster than the best before: servers compile what they run, and the
        first ten thousands of deliveries tell of that."""
        best, rate = 0.0, 0.0
        for round in range(self.size["rounds"]):
            best, rate = max(best, rate), self.deliver(f"to warm up, {round + 1}", self.size["delivered"])["per_s"]
            self.drain("indexing of that")
            # The second is often slower than the first: what they write goes to files then.
            if round >= 2 and rate < best * 1.05:
                break

    def deliveries(self) -> None:
        # In turns: the servers go on getting faster, and the machine's pace changes.
        rows, runs = [], []
        for _ in range(self.size["turns"]):
            rows.append(self.bare("rows", "--seconds", self.size["seconds"])["rows_per_s"])
            runs.append(self.deliver("LMTP, 32 sessions", self.size["delivered"], warmup=self.size["delivered"] // 20))
        publishes = self.bare("publishes", "--seconds", self.size["seconds"])["publishes_per_s"]
        rate = sum(run["messages"] for run in runs) / sum(run["wall_s"] for run in runs)
        self.row("LMTP, 32 sessions, deliveries/s", rate, sum(rows) / len(rows), "ratio", 0.08, 0.2)
        self.row("  beside confirmed publishes/s", rate, publishes)
        self.row("  p99 of a delivery, ms, worst of the turns", max(run["latency"]["p99_ms"] for run in runs), None)

    def indexing(self, documents: pathlib.Path) -> None:
        bulk = ["--requests", documents, "--count", self.size["bulk"]]
        alone = self.drain("indexing of what waits")
        bare = self.bare("bulk", *bulk)
        self.nodes["workers-1"].start()
        found = self.deliver("LMTP while it is indexed", self.size["delivered"])
        whole = found["wall_s"] + self.wait_until_indexed("workers-1") - found["ended"]
        self.nodes["workers-1"].stop(60)
        rate = found["messages"] / whole
        say(f"until all is indexed: {rate:,.0f}/s")
        self.row("until all is indexed, messages/s", rate, bare["documents_per_s"], "ratio", 0.7, 0.9)
        self.row("  deliveries/s meanwhile", found["per_s"], None)
        # The time until all is indexed is that of the deliveries where these are the slower part.
        self.row("  indexing of what waits, messages/s", alone, bare["documents_per_s"], "ratio", 0.7, 0.9)
        kept = self.octets_each()
        source = self.bare("bulk", *bulk, "--with-source")
        self.row("bytes a message in Elasticsearch", kept, source["octets_kept_each"], "share", 0.6, 0.4)
        self.row("  bare, without _source", None, bare["octets_kept_each"])

    def octets_each(self) -> float:
        """Octets of a message in Elasticsearch, once all are in one segment and what that replaced is gone."""
        name = self.platform.name
        wait_until("documents are kept for their recovery no more", lambda: self.is_released(name), 120)
        for step in ("_flush?force=true", "_forcemerge?max_num_segments=1"):
            self.servers.elasticsearch("POST", f"/{name}/{step}")
        wait_until("merged segments are gone", lambda: self.is_merged(name), 60)
        stats = self.servers.elasticsearch("GET", f"/{name}/_stats/store,docs")["_all"]["primaries"]
        return stats["store"]["size_in_bytes"] / stats["docs"]["count"]

    def is_merged(self, name: str) -> bool:
        """Whether the index takes hardly more room than the segments that are searched: each commit keeps its own until there
        is a newer one that is safe."""
        self.servers.elasticsearch("POST", f"/{name}/_flush?force=true")
        self.servers.elasticsearch("POST", f"/{name}/_refresh")
        stats = self.servers.elasticsearch("GET", f"/{name}/_stats/store")["_all"]["primaries"]
        shards = self.servers.elasticsearch("GET", f"/{name}/_segments")["indices"]
        copies = [copy for index in shards.values() for shard in index["shards"].values() for copy in shard if copy["routing"]["primary"]]
        octets = sum(segment["size_in_bytes"] for copy in copies for segment in copy["segments"].values())
        return stats["store"]["size_in_bytes"] < octets * 1.05

    def is_released(self, name: str) -> bool:
        """Whether Elasticsearch may forget what it was sent: until each copy of a shard is known to hold a document, it keeps
        the source for the copy's recovery, also where the mapping wants none (`_recovery_source`)."""
        shards = self.servers.elasticsearch("GET", f"/{name}/_stats?level=shards")["indices"]
        copies = [copy for index in shards.values() for shard in index["shards"].values() for copy in shard]
        newest = lambda copy: copy["seq_no"]["max_seq_no"]
        return all(lease["retaining_seq_no"] > newest(copy) for copy in copies for lease in copy["retention_leases"]["leases"])

    def processes(self) -> None:
        for count in range(2, max(PROCESSES) + 1):
            self.nodes[f"lmtp-{count}"].start()
        # In turns: what the machine does beside, and how warm the servers are, is then the same for each.
        runs = {count: [] for count in PROCESSES}
        for _ in range(self.size["turns"]):
            for count, found in runs.items():
                names = [f"lmtp-{number}" for number in range(1, count + 1)]
                found.append(self.deliver(f"{count} lmtp processes", self.size["shared"], names, warmup=self.size["shared"] // 10))
        rates = {count: sum(run["messages"] for run in found) / sum(run["wall_s"] for run in found) for count, found in runs.items()}
        for count, rate in rates.items():
            # Two runs of the same differ by a few hundredths.
            judged = ("ratio", 0.95, 1.0) if count > 1 else ()
            self.row(f"{count} lmtp processes, deliveries/s; beside one", rate, rates[PROCESSES[0]], *judged)
        for count in range(2, max(PROCESSES) + 1):
            self.nodes[f"lmtp-{count}"].stop(60)
        self.drain("indexing of that")

    def newest(self) -> None:
        count = self.size["mailbox"]
        self.deliver("the mailbox that is read", count, user=SEARCHED)
        self.drain("indexing of that")
        items = self.platform.client(SEARCHED).get("/v1/messages", limit=50)["items"]
        assert len(items) == 50, len(items)
        ours = self.read("newest 50 heads", "/v1/messages?limit=50")
        found = self.bare("slice", "--from", self.platform.name, "--rows", count, "--count", self.size["reads"], "--warmup", 50)
        for rank in ("p50", "p99"):
            bare = found["latency"][f"{rank}_ms"]
            self.row(f"newest 50 heads of {count:,}, {rank} ms", ours[f"{rank}_ms"], bare, "share", 2.0, 1.3)

    def searches(self) -> None:
        wanted = self.options.mailbox or (SMOKE_MAILBOX if self.options.smoke else MAILBOX)
        there = self.size["mailbox"]
        filling = ["--address", SEARCHED, "--count", max(0, wanted - there), "--seconds", self.options.fill_seconds]
        environment = os.environ | {name: value for name, value in self.platform.variables.items()}
        found = self.timed("filling the mailbox", lambda: program("fill", *filling, environment=environment))
        count = there + found["done"]
        say(f"the mailbox: {count:,} messages, {found['messages_per_s']:,.0f}/s, {found['tokens_each']:.0f} tokens each")
        self.servers.elasticsearch("POST", f"/{self.platform.name}/_refresh")

        words = [line.split("\t")[1] for line in self.queries.read_text().splitlines()]
        requests, client = self.place / "searches.jsonl", Client(self.nodes["api-2"].api_port).log_in(SEARCHED)
        self.tap.record(requests)
        hits = [len(client.get("/v1/search", q=word, limit=50)["items"]) for word in words]
        self.tap.record(None)
        assert max(hits, default=0) == 50, "no word is found fifty times"
        say(f"{len(words)} words, {sum(hits) / len(hits):.0f} hits a page")

        asked = ["--requests", requests, "--count", self.size["reads"], "--warmup", len(words)]
        # Whoever comes first finds the server less prepared.
        self.bare("search", *asked)
        ours = self.read("search + 50 heads", "/v1/search?q={q}&limit=50", "--queries", self.queries)
        bare = self.bare("search", *asked)
        short = "" if count >= wanted else f" (of {wanted:,}: the time was over)"
        for rank, below in (("p50", None), ("p99", 50.0)):
            title = f"search + 50 heads over {count:,}{short}, {rank} ms"
            self.row(title, ours[f"{rank}_ms"], bare["latency"][f"{rank}_ms"], "share", 2.0, 1.3, below)

    def print(self) -> None:
        table.head("signet", "bare")
        for row in self.rows:
            # A few messages say nothing about speed.
            kind = None if self.options.smoke else row["kind"]
            row["met"] = table.line(row["row"], row["ours"], row["bare"], kind, row["floor"], row["aim"], row["below"])
        stolen, load = max(run["stolen"] for run in self.runs), max(run["load"][0] for run in self.runs)
        print(f"{os.cpu_count()} processors; of their time at most {stolen:.0%} stolen, load at most {load:.1f}")


def steal() -> int:
    """Ticks that the machine below gave to others."""
    return int(open("/proc/stat").readline().split()[8])


def program(name: str, *arguments, environment=None) -> dict:
    """What one of the examples prints."""
    command = [str(part) for part in (ROOT / "target/release/examples" / name, *arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 0, f"{name} {arguments[0]} ended with {done.returncode}"
    return json.loads(done.stdout)


def calls(node) -> dict[str, tuple[float, float]]:
    """Calls of the store by a node: how many, and the seconds that they took."""
    found: dict[str, dict[str, float]] = {}
    pattern = rb'^signet_store_call_seconds_(count|sum)\{call="([^"]+)"\} (\S+)'
    for what, call, value in re.findall(pattern, node.metrics(), re.M):
        found.setdefault(call.decode(), {})[what.decode()] = float(value)
    return {call: (values.get("count", 0), values.get("sum", 0)) for call, values in found.items()}


def spent(now: dict, before: dict) -> dict:
    """By call: how many, and how long each took in ms."""
    found = {}
    for call, (count, seconds) in now.items():
        count, seconds = count - before.get(call, (0, 0))[0], seconds - before.get(call, (0, 0))[1]
        if count:
            found[call] = dict(count=int(count), ms=round(seconds / count * 1000, 3))
    return found


def measure(options, place) -> dict:
    load = make_load(place.path)
    # A program that is given is not built.
    wanted = [] if os.environ.get("SIGNET_BIN") else ["--bin", "signet"]
    build("--workspace", *wanted, "--example", "fill", "--example", "bare")
    assert PROGRAM.exists(), PROGRAM
    with Servers() as servers, Tap(servers.addresses["ELASTICSEARCH"].split(",")[0]) as tap:
        with Platform(place / "signet", servers, "warn") as platform:
            bench = Bench(options, place, platform, servers, tap, load)
            try:
                bench.start()
                documents = bench.record_documents()
                bench.warm_up()
                bench.deliveries()
                bench.indexing(documents)
                bench.processes()
                bench.newest()
                bench.searches()
            except BaseException:
                print(platform.logs(), file=sys.stderr)
                raise
            finally:
                servers.cql(f"DROP KEYSPACE IF EXISTS {platform.name}_bare")
                with servers.queues() as queues:
                    queues.delete(f"{platform.name}.bare")
            bench.print()
    incomplete = [run["what"] for run in bench.runs if not run.get("complete", True)]
    return dict(rows=bench.rows, runs=bench.runs, incomplete=incomplete)
