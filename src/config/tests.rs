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
fn every_default_is_in_its_range_and_every_variable_is_of_one_setting() {
    let mut variables = std::collections::HashSet::new();
    for setting in SETTINGS {
        if let Some(value) = setting.default_value() {
            assert_eq!(setting.check(&value), Ok(value), "{}", setting.key);
        }
        assert!(variables.insert(setting.variable()), "{}", setting.key);
    }
}

#[test]
fn a_misspelt_variable_is_noticed() {
    let names = ["SIGNET_DATA", "SIGNET_CONFIG", "SIGNET_DATTA", "HOME"].map(str::to_owned);
    assert_eq!(unknown_variables(names.into_iter()), ["SIGNET_DATTA"]);
}
