"""A session with Cassandra, for the modules that speak to it."""

import ssl

# The role that every new Cassandra has, with the same password.
OPERATOR = "cassandra"


def connect(module, name, password):
    """A session, or None if the login is refused."""
    from cassandra import AuthenticationFailed
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import WhiteListRoundRobinPolicy

    trust = ssl.create_default_context(cafile=module.params["authority"])
    address = module.params["address"]
    cluster = Cluster(
        [address],
        port=module.params["port"],
        protocol_version=4,
        ssl_context=trust,
        ssl_options={"server_hostname": address},
        auth_provider=PlainTextAuthProvider(name, password),
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(WhiteListRoundRobinPolicy([address]), request_timeout=60)
        },
    )
    try:
        return cluster.connect()
    except NoHostAvailable as error:
        cluster.shutdown()
        if any(isinstance(each, AuthenticationFailed) for each in error.errors.values()):
            return None
        raise
