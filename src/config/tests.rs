use super::*;

fn load(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signet.toml");
    std::fs::write(&path, file).unwrap();
    let flags: Vec<Flag> = flags.iter().map(|(key, text)| Flag { key, text: (*text).to_owned() }).collect();
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
    Config::load(Some(&path), variable, &flags)
}

#[test]
fn without_anything_the_defaults_are_in_force() {
    let config = Config::load(None, |_| None, &[]).unwrap();
    assert_eq!(config.data(), PathBuf::from("./signet-data"));
    assert_eq!(config.text("lmtp"), Some("127.0.0.1:2424"));
    assert_eq!(config.text("api"), Some("127.0.0.1:8420"));
    assert_eq!(config.text("internal"), Some("127.0.0.1:8421"));
    assert_eq!(config.integer("delivery.message_bytes"), 50 << 20);
}

#[test]
fn flags_stand_above_variables_and_variables_above_the_file() {
    let file = "data = 'file'\nlmtp = '127.0.0.1:1'\napi = '127.0.0.1:2'\n[workers]\nbatch = 7\nnice = 3\n";
    let variables =
        [("SIGNET_LMTP", "127.0.0.1:3"), ("SIGNET_API", "127.0.0.1:4"), ("SIGNET_WORKERS_BATCH", "9")];
    let config = load(file, &variables, &[("api", "127.0.0.1:5")]).unwrap();
    assert_eq!(config.data(), PathBuf::from("file"));
    assert_eq!(config.text("lmtp"), Some("127.0.0.1:3"));
    assert_eq!(config.text("api"), Some("127.0.0.1:5"));
    assert_eq!((config.integer("workers.batch"), config.integer("workers.nice")), (9, 3));
}

#[test]
fn an_error_names_the_key_and_where_it_stands() {
    type Pairs = &'static [(&'static str, &'static str)];
    let cases: &[(&str, Pairs, Pairs, &[&str])] = &[
        // Unknown, at the top, in a section, and a section of its own.
        ("datta = 'x'", &[], &[], &["signet.toml", "`datta`"]),
        ("[workers]\nthread = 1", &[], &[], &["signet.toml", "`workers.thread`"]),
        ("[worker]\nthreads = 1", &[], &[], &["signet.toml", "`worker.threads`"]),
        // A section where a value belongs.
        ("[data]\nx = 1", &[], &[], &["`data.x`"]),
        // Out of range, and of the wrong kind.
        ("[workers]\nthreads = 0", &[], &[], &["signet.toml", "`workers.threads`", "from 1 to 64"]),
        ("[workers]\nthreads = 'many'", &[], &[], &["`workers.threads`", "whole number"]),
        ("log_format = 'xml'", &[], &[], &["`log_format`", "text, json"]),
        ("[delivery]\ntrusted_relays = ['anyone']", &[], &[], &["`delivery.trusted_relays`"]),
        ("", &[("SIGNET_LMTP", "nowhere")], &[], &["SIGNET_LMTP", "`lmtp`", "host:port"]),
        ("", &[("SIGNET_WORKERS_NICE", "20")], &[], &["SIGNET_WORKERS_NICE", "from 0 to 19"]),
        ("", &[], &[("api", "8420")], &["--api", "`api`"]),
        ("data = ''", &[], &[], &["`data`"]),
        ("log = 'info,,=x'", &[], &[], &["signet.toml", "`log`", "tracing filter"]),
        ("", &[("SIGNET_LOG", "lmtp=loud")], &[], &["SIGNET_LOG", "`log`"]),
        ("", &[], &[("log", "")], &["--log", "`log`"]),
        // Together impossible.
        ("[delivery]\nbytes_in_flight = 1024", &[], &[], &["`delivery.bytes_in_flight`"]),
        (
            "[delivery]\nproxy_protocol = 'required'",
            &[],
            &[],
            &["`delivery.proxy_protocol`", "`delivery.proxies`"],
        ),
        (
            "[rest]\nproxy_protocol = 'required'\nproxies = []",
            &[],
            &[],
            &["`rest.proxy_protocol`", "`rest.proxies`"],
        ),
        ("data = ", &[], &[], &["is not TOML"]),
        // Of the other backend.
        (
            "[cassandra]\nkeyspace = 'mail'",
            &[],
            &[],
            &["signet.toml", "`cassandra.keyspace`", "\"embedded\""],
        ),
        (
            "",
            &[("SIGNET_START_SECONDS", "5")],
            &[],
            &["SIGNET_START_SECONDS", "`start_seconds`", "`backend`"],
        ),
        (
            "backend = 'cluster'\n[storage]\nthreads = 2",
            &[],
            &[],
            &["signet.toml", "`storage.threads`", "\"cluster\""],
        ),
        ("backend = 'sqlite'", &[], &[], &["`backend`", "embedded, cluster"]),
        // Where the servers are.
        ("[cassandra]\nnodes = []", &[], &[], &["`cassandra.nodes`", "host:port"]),
        ("", &[("SIGNET_CASSANDRA_NODES", "a:9042,b")], &[], &["SIGNET_CASSANDRA_NODES", "host:port"]),
        ("", &[("SIGNET_CASSANDRA_NODES", "fe80::1:9042")], &[], &["host:port"]),
        ("", &[("SIGNET_CASSANDRA_NODES", "a:0")], &[], &["host:port"]),
        ("[cassandra]\nkeyspace = 'a;drop'", &[], &[], &["`cassandra.keyspace`", "small letter"]),
        ("[elasticsearch]\nalias = '_all'", &[], &[], &["`elasticsearch.alias`", "small letter"]),
        ("[elasticsearch]\nurls = ['amqp://a:9200']", &[], &[], &["http|https://host:port"]),
        ("[redis]\nurl = 'redis://a'", &[], &[], &["`redis.url`", "redis|rediss://host:port"]),
        ("[cassandra]\ncopies = 0", &[], &[], &["`cassandra.copies`", "from 1 to 9"]),
        ("[redis]\nprefix = ''", &[], &[], &["`redis.prefix`"]),
        // A name and a password, each of which is missing or there twice.
        (
            "backend = 'cluster'\n[redis]\nlogin = 'a'",
            &[],
            &[],
            &["`redis.login`", "`redis.password`", "`redis.password_file`"],
        ),
        (
            "backend = 'cluster'\n[rabbitmq]\npassword_file = '/p'",
            &[],
            &[],
            &["`rabbitmq.login`", "`rabbitmq.password_file`"],
        ),
        (
            "backend = 'cluster'\n[cassandra]\nlogin = 'a'\npassword = 'b'\npassword_file = '/p'",
            &[],
            &[],
            &["`cassandra.password`", "`cassandra.password_file`"],
        ),
        (
            "backend = 'cluster'\n[elasticsearch]\nca_file = '/ca'",
            &[],
            &[],
            &["`elasticsearch.ca_file`", "`elasticsearch.urls`"],
        ),
        (
            "backend = 'cluster'\n[cassandra]\nchange_milliseconds = 200",
            &[],
            &[],
            &["`cassandra.change_milliseconds`", "`cassandra.request_milliseconds`"],
        ),
    ];
    for (file, variables, flags, words) in cases {
        let message = load(file, variables, flags).expect_err(file).to_string();
        for word in *words {
            assert!(message.contains(word), "{file:?}: {message:?} lacks {word:?}");
        }
    }
}

#[test]
fn a_proxy_is_required_of_a_listener_that_knows_whom_to_trust() {
    for file in [
        "[delivery]\nproxy_protocol = 'required'\nproxies = ['192.0.2.1/32']\n",
        "[rest]\nproxy_protocol = 'required'\nproxies = ['2001:db8::/64']\n",
        // Who may connect to a unix socket its file's mode says.
        "[delivery]\nsocket_proxy_protocol = 'required'\n",
    ] {
        assert!(load(file, &[], &[]).is_ok(), "{file}");
    }
}

#[test]
fn what_is_shown_loads_again_and_hides_the_command() {
    let file = "master_key_command = ['keeper', 'hunter2']\n[delivery]\ntrusted_relays = ['192.0.2.0/24']\n";
    let config = load(file, &[], &[]).unwrap();
    let shown = to_toml(&config, true);
    assert!(!shown.contains("hunter2") && shown.contains("[hidden]"), "{shown}");
    assert!(!to_json(&config, true).to_string().contains("hunter2"));
    let plain = load("[delivery]\ntrusted_relays = ['192.0.2.0/24']\n", &[], &[]).unwrap();
    assert_eq!(load(&to_toml(&plain, false), &[], &[]).unwrap(), plain);
}

#[test]
fn servers_are_named_in_a_variable_by_commas() {
    let variables = [("SIGNET_BACKEND", "cluster"), ("SIGNET_CASSANDRA_NODES", "a:9042, b:9042,")];
    let config = load("", &variables, &[]).unwrap();
    assert_eq!(config.servers().unwrap().cassandra.nodes, ["a:9042", "b:9042"]);
}

#[test]
fn a_password_is_never_shown() {
    let secret = "hunter2 correct horse";
    let file = format!("backend = 'cluster'\n[redis]\nlogin = 'default'\npassword = '{secret}'\n");
    let config = load(&file, &[], &[]).unwrap();
    let shown = [to_toml(&config, false), to_json(&config, false).to_string(), format!("{config:?}")];
    for text in shown {
        assert!(text.contains("[hidden]") && !text.contains(secret), "{text}");
    }
    assert!(!format!("{:?}", config.servers().unwrap()).contains(secret));
    // Nor in an error about a URL or a password that it stands in.
    for (variable, text) in [
        ("SIGNET_REDIS_URL", format!("redis://default:{secret}@a:6379")),
        ("SIGNET_RABBITMQ_URLS", format!("amqp://guest:{secret}@a:5672")),
        ("SIGNET_CASSANDRA_NODES", format!("cassandra:{secret}@a:5672")),
    ] {
        let refused =
            load("", &[("SIGNET_BACKEND", "cluster"), (variable, &text)], &[]).unwrap_err().to_string();
        assert!(refused.contains(variable) && !refused.contains(secret), "{refused}");
    }
    let twice = format!("{file}password_file = '/p'\n");
    assert!(!load(&twice, &[], &[]).unwrap_err().to_string().contains(secret));
}

#[test]
fn only_the_settings_of_the_backend_in_force_are_shown_and_they_load_again() {
    let embedded = load("", &[], &[]).unwrap();
    let cluster = load("backend = 'cluster'\n", &[], &[]).unwrap();
    let shown = [to_toml(&embedded, false), to_toml(&cluster, false)];
    assert!(shown[0].contains("[storage]") && !shown[0].contains("[cassandra]"), "{}", shown[0]);
    assert!(!shown[1].contains("[storage]") && shown[1].contains("[cassandra]"), "{}", shown[1]);
    assert_eq!([&shown[0], &shown[1]].map(|file| load(file, &[], &[]).unwrap()), [embedded, cluster]);
}

#[test]
fn every_default_is_in_its_range_and_every_variable_is_of_one_setting() {
    let mut variables = std::collections::HashSet::new();
    for setting in SETTINGS {
        if let Some(value) = setting.default_value() {
            assert_eq!(setting.kind.check(&value), Ok(value), "{}", setting.key);
        }
        assert!(variables.insert(setting.variable()), "{}", setting.key);
    }
}

#[test]
fn a_misspelt_variable_is_noticed() {
    let names =
        ["SIGNET_DATA", "SIGNET_CONFIG", "SIGNET_PROBE_SMTP", "SIGNET_DATTA", "HOME"].map(str::to_owned);
    assert_eq!(unknown_variables(names.into_iter()), ["SIGNET_DATTA"]);
}
