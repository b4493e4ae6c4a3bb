#!/usr/bin/python
"""The tables of a snapshot of Cassandra, made anew and empty."""

import pathlib

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cassandra_session import OPERATOR, connect

DOCUMENTATION = """
module: cassandra_tables
short_description: The tables of a snapshot
description: Makes the tables whose snapshots lie in a directory, each in a folder of its own. The keyspace has to be there, and empty.
options:
  address: {description: Where a node listens., type: str, required: true}
  port: {description: The port., type: int, required: true}
  authority: {description: "The file of the authority that signed its certificate.", type: path, required: true}
  operator_password: {description: The password of C(cassandra)., type: str, required: true}
  keyspace: {description: The keyspace., type: str, required: true}
  directory: {description: "Where the snapshots are, on the machine on which it runs.", type: path, required: true}
author: The Signet authors
"""


def statements(directory):
    """What the snapshots say of their tables."""
    for file in sorted(pathlib.Path(directory).glob("**/schema.cql")):
        for statement in file.read_text().split(";\n"):
            if statement.strip():
                yield statement


def main():
    options = {name: {"type": "str", "required": True} for name in ("address", "keyspace")}
    options |= {name: {"type": "path", "required": True} for name in ("authority", "directory")}
    options["port"] = {"type": "int", "required": True}
    options["operator_password"] = {"type": "str", "required": True, "no_log": True}
    module = AnsibleModule(argument_spec=options)
    session = connect(module, OPERATOR, module.params["operator_password"])
    if session is None:
        module.fail_json(msg="the role cassandra has not the password cassandra_operator_password")
    query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
    if list(session.execute(query, [module.params["keyspace"]])):
        module.fail_json(msg="the keyspace has tables already: a backup is restored into an empty cluster")
    made = 0
    for statement in statements(module.params["directory"]):
        session.execute(statement)
        made += 1
    session.cluster.shutdown()
    module.exit_json(changed=made > 0, statements=made)


if __name__ == "__main__":
    main()
