"""Archives of Cassandra and Elasticsearch that are laid out as their vendors', made of what Maven Central has."""

import pathlib
import sys
import tarfile

from signet import ROOT

sys.path.insert(0, str(ROOT / "tests/services"))

import kits  # noqa: E402

VERSION = "8"
START = """\
#!/bin/bash
# Starts Elasticsearch with the configuration in ES_PATH_CONF, as the vendor's own script does.
set -euo pipefail
options=()
while IFS= read -r line; do
    case $line in '' | '#'*) ;; *) options+=("$line") ;; esac
done < <(cat "$ES_HOME/bin/jvm.options" "$ES_PATH_CONF/jvm.options")
exec java "${options[@]}" "-Des.nativelibs.path=$ES_HOME/native" -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false \\
    --add-modules=org.elasticsearch.server,ALL-MODULE-PATH --module-path "$ES_HOME/lib" \\
    --add-exports org.elasticsearch.server/org.elasticsearch.node=ALL-UNNAMED -cp "$ES_HOME/classes" Launch "$ES_HOME"
"""


def cassandra(target: pathlib.Path) -> None:
    with tarfile.open(target, "w") as archive:
        archive.add(kits.cassandra(), "apache-cassandra/lib")


def elasticsearch(target: pathlib.Path, workplace: pathlib.Path) -> None:
    kit = kits.elasticsearch(VERSION)
    (workplace / "elasticsearch").write_text(START)
    (workplace / "elasticsearch").chmod(0o755)
    (workplace / "plugins").mkdir()
    (workplace / "config").symlink_to("/etc/elasticsearch")
    with tarfile.open(target, "w") as archive:
        for name in ("lib", "classes", "native"):
            archive.add(kit / name, f"elasticsearch/{name}")
        archive.add(kit / "transport-netty4", "elasticsearch/modules/transport-netty4")
        archive.add(workplace / "elasticsearch", "elasticsearch/bin/elasticsearch")
        archive.add(ROOT / "tests/services/elasticsearch/jvm.options", "elasticsearch/bin/jvm.options")
        archive.add(workplace / "plugins", "elasticsearch/plugins")
        archive.add(workplace / "config", "elasticsearch/config")


def settings(home: pathlib.Path) -> dict:
    """What names the archives in an inventory, and asks for little memory and time."""
    home.mkdir()
    cassandra(home / "cassandra.tar")
    elasticsearch(home / "elasticsearch.tar", home)
    return {
        "cassandra_archive": str(home / "cassandra.tar"),
        "cassandra_heap": "512m",
        # A small machine that does other work too holds a disk or a processor up for longer than others.
        "cassandra_settings": {
            "write_request_timeout": "15s",
            "read_request_timeout": "15s",
            "range_request_timeout": "15s",
            "concurrent_compactors": 1,
            "memtable_heap_space": "96MiB",
            "memtable_offheap_space": "96MiB",
            "file_cache_enabled": False,
        },
        # Nobody else is in this ring: do not wait for them.
        "cassandra_java_options": ["-Dcassandra.ring_delay_ms=2000", "-Dcassandra.skip_wait_for_gossip_to_settle=0"],
        "cassandra_exporter": str(kits.jmx_exporter()),
        "elasticsearch_archive": str(home / "elasticsearch.tar"),
        "elasticsearch_version": kits.ELASTICSEARCH[VERSION].version,
        "elasticsearch_heap": "512m",
        "elasticsearch_settings": {"cluster.routing.allocation.disk.threshold_enabled": False},
        "rabbitmq_settings": {"vm_memory_high_watermark.absolute": "512MB", "raft.wal_max_size_bytes": 64000000},
    }
