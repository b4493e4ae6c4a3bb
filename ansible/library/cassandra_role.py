#!/usr/bin/python
"""A role of Cassandra that may do everything in one keyspace, and no more."""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cassandra_session import OPERATOR, connect

DOCUMENTATION = """
module: cassandra_role
short_description: A role that has a keyspace
description:
  - Makes a keyspace, and a role with a password that may do everything in it.
  - The first time it takes the password that everybody knows from the role C(cassandra), which may do everything.
options:
  address: {description: Where a node listens., type: str, required: true}
  port: {description: The port., type: int, required: true}
  authority: {description: "The file of the authority that signed its certificate.", type: path, required: true}
  operator_password: {description: What the password of C(cassandra) is to be., type: str, required: true}
  name: {description: The role., type: str, required: true}
  password: {description: Its password., type: str, required: true}
  keyspace: {description: The keyspace., type: str, required: true}
  datacenter: {description: Where its copies are., type: str, required: true}
  copies: {description: "How many there are, of it and of what Cassandra knows of roles.", type: int, required: true}
author: The Signet authors
"""

RETURN = """
copies_changed: {description: "Whether a keyspace has another number of copies now, and all nodes are to be repaired.", type: bool, returned: always}
"""

# Cassandra's own, whose loss would lock everybody out.
OF_CASSANDRA = ("system_auth", "system_distributed")


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def set_copies(session, wanted):
    """Gives the keyspaces that are there their number of copies; whether any had another."""
    changed = False
    for keyspace in (wanted["keyspace"], *OF_CASSANDRA):
        found = session.execute("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", [keyspace]).one()
        if found and found.replication.get(wanted["datacenter"], found.replication.get("replication_factor")) != str(wanted["copies"]):
            session.execute(f"ALTER KEYSPACE {keyspace} WITH replication = {replication(wanted)}")
            changed = True
    return changed


def replication(wanted):
    return f"{{'class': 'NetworkTopologyStrategy', {quoted(wanted['datacenter'])}: {wanted['copies']}}}"


def change(module):
    """Does what is missing: whether anything was, and whether there are more or fewer copies now."""
    wanted = module.params
    changed = False
    session = connect(module, OPERATOR, wanted["operator_password"])
    if session is None:
        session = connect(module, OPERATOR, OPERATOR)
        if session is None:
            module.fail_json(msg="the role cassandra has neither cassandra_operator_password nor the password of a new Cassandra")
        session.execute(f"ALTER ROLE {OPERATOR} WITH PASSWORD = {quoted(wanted['operator_password'])}")
        changed = True
    copies_changed = set_copies(session, wanted)
    if not session.execute("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s", [wanted["keyspace"]]).one():
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS {wanted['keyspace']} WITH replication = {replication(wanted)}")
        changed = True
    own = connect(module, wanted["name"], wanted["password"])
    if own is None:
        password = quoted(wanted["password"])
        session.execute(f"CREATE ROLE IF NOT EXISTS {wanted['name']} WITH PASSWORD = {password} AND LOGIN = true")
        session.execute(f"ALTER ROLE {wanted['name']} WITH PASSWORD = {password}")
        changed = True
    else:
        own.cluster.shutdown()
    granted = session.execute(f"LIST ALL PERMISSIONS ON KEYSPACE {wanted['keyspace']} OF {wanted['name']}")
    if not list(granted):
        session.execute(f"GRANT ALL PERMISSIONS ON KEYSPACE {wanted['keyspace']} TO {wanted['name']}")
        changed = True
    session.cluster.shutdown()
    return {"changed": changed or copies_changed, "copies_changed": copies_changed}


def main():
    options = {name: {"type": "str", "required": True} for name in ("address", "name", "keyspace", "datacenter")}
    options["authority"] = {"type": "path", "required": True}
    options |= {name: {"type": "int", "required": True} for name in ("port", "copies")}
    options |= {name: {"type": "str", "required": True, "no_log": True} for name in ("operator_password", "password")}
    module = AnsibleModule(argument_spec=options)
    module.exit_json(**change(module))


if __name__ == "__main__":
    main()
