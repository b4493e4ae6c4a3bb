//! Where the servers of the cluster are, as the settings say.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cluster::{CassandraOptions, ElasticsearchOptions, Login, Options, RabbitmqOptions, RedisOptions};
use zeroize::Zeroizing;

use super::{Config, ConfigError, settings};

/// The most octets of a file with a password.
const LONGEST: u64 = 4096;

/// What no single setting of a server can say.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let contradiction = |why: String| Err(ConfigError::Contradiction(why));
    for server in ["cassandra", "elasticsearch", "rabbitmq", "redis"] {
        let [login, password, file] =
            ["login", "password", "password_file"].map(|key| format!("{server}.{key}"));
        let is_set = |key: &str| config.text(key).is_some();
        if is_set(&password) && is_set(&file) {
            return contradiction(format!("`{password}` and `{file}` exclude each other"));
        }
        let secret = if is_set(&file) { file } else { password };
        match (is_set(&login), is_set(&secret)) {
            (true, false) => {
                return contradiction(format!("`{login}` is set, but no `{secret}` (or `{secret}_file`)"));
            }
            (false, true) => return contradiction(format!("`{secret}` is set, but no `{login}`")),
            _ => {}
        }
    }
    for (urls, ca_file) in [
        ("elasticsearch.urls", "elasticsearch.ca_file"),
        ("rabbitmq.urls", "rabbitmq.ca_file"),
        ("redis.url", "redis.ca_file"),
    ] {
        let urls_set = config.list(urls).or_else(|| Some(vec![config.text(urls)?.to_owned()]));
        let is_plain = |url: &String| !url.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with('s'));
        if config.text(ca_file).is_some() && urls_set.iter().flatten().any(is_plain) {
            return contradiction(format!("`{ca_file}` is set, but `{urls}` names one without TLS"));
        }
    }
    if config.integer("cassandra.change_milliseconds") < config.integer("cassandra.request_milliseconds") {
        return contradiction(
            "`cassandra.change_milliseconds` is less than `cassandra.request_milliseconds`: a change could come too late for its feed"
                .to_owned(),
        );
    }
    Ok(())
}

/// What connects to the servers.
pub(super) fn options(config: &Config) -> Result<Options, ConfigError> {
    let text = |key: &str| config.text(key).unwrap_or_default().to_owned();
    let list = |key: &str| config.list(key).unwrap_or_default();
    let small = |key: &str| u8::try_from(config.integer(key)).unwrap_or(u8::MAX);
    let wide = |key: &str| u16::try_from(config.integer(key)).unwrap_or(u16::MAX);
    Ok(Options {
        cassandra: CassandraOptions {
            nodes: list("cassandra.nodes"),
            keyspace: text("cassandra.keyspace"),
            datacenter: config.text("cassandra.datacenter").map(str::to_owned),
            copies: small("cassandra.copies"),
            login: login(config, "cassandra")?,
            ca_file: config.path("cassandra.ca_file"),
            request_time: config.milliseconds("cassandra.request_milliseconds"),
            clock_skew: config.milliseconds("cassandra.clock_skew_milliseconds"),
            change_time: config.milliseconds("cassandra.change_milliseconds"),
            bucket_rows: config.integer("cassandra.bucket_rows"),
        },
        elasticsearch: ElasticsearchOptions {
            urls: list("elasticsearch.urls"),
            alias: text("elasticsearch.alias"),
            shards: wide("elasticsearch.shards"),
            replicas: wide("elasticsearch.replicas"),
            login: login(config, "elasticsearch")?,
            ca_file: config.path("elasticsearch.ca_file"),
            request_time: config.milliseconds("elasticsearch.request_milliseconds"),
        },
        rabbitmq: RabbitmqOptions {
            urls: list("rabbitmq.urls"),
            virtual_host: text("rabbitmq.virtual_host"),
            prefix: text("rabbitmq.prefix"),
            copies: small("rabbitmq.copies"),
            login: login(config, "rabbitmq")?,
            ca_file: config.path("rabbitmq.ca_file"),
            request_time: config.milliseconds("rabbitmq.request_milliseconds"),
        },
        redis: RedisOptions {
            url: text("redis.url"),
            prefix: text("redis.prefix"),
            login: login(config, "redis")?,
            ca_file: config.path("redis.ca_file"),
            request_time: config.milliseconds("redis.request_milliseconds"),
        },
    })
}

fn login(config: &Config, server: &str) -> Result<Option<Login>, ConfigError> {
    let Some(name) = config.text(&format!("{server}.login")) else { return Ok(None) };
    let file_key = format!("{server}.password_file");
    let password = match config.path(&file_key) {
        Some(path) => {
            let key = settings::find(&file_key).map_or("password_file", |setting| setting.key);
            read_password(&path).map_err(|why| ConfigError::BadPasswordFile { key, path, why })?
        }
        None => Zeroizing::new(config.text(&format!("{server}.password")).unwrap_or_default().to_owned()),
    };
    Ok(Some(Login { name: name.to_owned(), password }))
}

/// The first line of a file that nobody but its owner may read.
pub fn read_password(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o777;
    // What systemd hands over is guarded by its directory, and may show a group that nobody is in.
    let is_credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|directory| path.starts_with(directory));
    let forbidden = if is_credential { 0o007 } else { 0o077 };
    if mode & forbidden != 0 {
        return Err(format!("has mode {mode:04o}: nobody but its owner may have access to it (chmod 600)"));
    }
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err("is no file with a password".to_owned());
    }
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err("holds no password".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with(file: &str) -> Result<Options, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signet.toml");
        std::fs::write(&path, format!("backend = 'cluster'\n{file}")).unwrap();
        Config::load(Some(&path), |_| None, &[])?.servers()
    }

    #[test]
    fn what_nobody_sets_is_what_the_backend_takes_by_itself() {
        assert_eq!(format!("{:?}", with("").unwrap()), format!("{:?}", Options::default()));
    }

    #[test]
    fn every_setting_of_a_server_reaches_it() {
        let options = with(
            "[cassandra]\nnodes = ['a:1', '[::1]:2']\nkeyspace = 'mail'\ndatacenter = 'north'\ncopies = 1\n\
             login = 'signet'\npassword = 'one'\nca_file = '/ca1'\nrequest_milliseconds = 100\n\
             clock_skew_milliseconds = 7\nchange_milliseconds = 200\nbucket_rows = 1000\n\
             [elasticsearch]\nurls = ['https://e:9200']\nalias = 'found'\nshards = 5\nreplicas = 0\nlogin = 'es'\n\
             password = 'two'\nca_file = '/ca2'\nrequest_milliseconds = 300\n\
             [rabbitmq]\nurls = ['amqps://r:5671/']\nvirtual_host = 'mail'\nprefix = 'jobs'\ncopies = 5\nlogin = 'mq'\n\
             password = 'three'\nca_file = '/ca3'\nrequest_milliseconds = 400\n\
             [redis]\nurl = 'rediss://c:6379'\nprefix = 'm:'\nlogin = 'default'\npassword = 'four'\nca_file = '/ca4'\n\
             request_milliseconds = 50\n",
        );
        let options = options.unwrap();
        let default = format!("{:#?}", Options::default());
        let set = format!("{options:#?}");
        // Line by line nothing but the form of it is as it was.
        let is_value = |line: &&str| line.contains(": ") && !line.ends_with(['{', '[', '(']);
        let same = set.lines().filter(is_value).filter(|line| default.lines().any(|other| other == *line));
        assert_eq!(same.collect::<Vec<_>>(), Vec::<&str>::new());
        let passwords = [
            options.cassandra.login,
            options.elasticsearch.login,
            options.rabbitmq.login,
            options.redis.login,
        ];
        let passwords = passwords.map(|login| login.unwrap().password.to_string());
        assert_eq!(passwords, ["one", "two", "three", "four"]);
    }

    #[test]
    fn a_password_is_read_from_the_first_line_of_a_file_that_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            with(&format!("[redis]\nlogin = 'default'\npassword_file = '{}'\n", path.display()))
        };
        for text in ["hunter2\n", "hunter2", "hunter2\r\nsomething else\n"] {
            assert_eq!(*write(text, 0o400).unwrap().redis.login.unwrap().password, "hunter2");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        for (text, mode, words) in [
            ("hunter2", 0o640, "0640"),
            ("hunter2", 0o604, "0604"),
            ("", 0o600, "holds no password"),
            ("\nhunter2", 0o600, "holds no password"),
            (&*"x".repeat(5000), 0o600, "is no file with a password"),
        ] {
            let message = write(text, mode).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("`redis.password_file`"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = with(&format!("[redis]\nlogin = 'default'\npassword_file = '{}'\n", path.display()));
        assert!(missing.unwrap_err().to_string().contains("cannot be read"));
    }
}
