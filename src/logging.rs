//! What is logged: our own words as the filter says, those of other crates from warnings on, whatever the filter says.
//! Other crates know nothing of our promise that a log names nobody: at the levels below, some print what they carry.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

/// The crates whose words are ours.
const OURS: [&str; 10] =
    ["signet", "mail", "seal", "schema", "embedded", "cluster", "proxy_protocol", "lmtp", "workers", "api"];

/// Drivers that tell of each attempt to reach a server that is away, on each connection; we tell of it ourselves, once.
/// A filter that names them hears them.
const QUIET: &str = "scylla=off,lapin=off";

fn is_ours(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or_default();
    OURS.contains(&first)
}

fn cap() -> FilterFn<impl Fn(&Metadata<'_>) -> bool + Clone> {
    filter_fn(|metadata| is_ours(metadata.target()) || *metadata.level() <= Level::WARN)
}

/// The tracing filter that a text is.
///
/// # Errors
/// If it is none.
pub fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(format!("{QUIET},{filter}"))
}

/// A subscriber that writes to `writer` what `filter` (a tracing filter) lets through.
///
/// # Errors
/// If `filter` is none.
pub fn subscriber<W>(
    filter: &str,
    json: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = parse(filter)?.and(cap());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    Ok(if json {
        Box::new(Registry::default().with(lines.json().with_filter(filter)))
    } else {
        Box::new(Registry::default().with(lines.with_filter(filter)))
    })
}

/// From now on a panic is logged by its place alone: its text may hold what was being read.
pub fn hide_panic_texts() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(place = place.as_deref().unwrap_or("unknown"), "a panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, json: bool) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(filter, json, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "hyper::proto", "hyper trace");
            tracing::info!(target: "fjall", "fjall info");
            tracing::warn!(target: "fjall", "fjall warning");
            tracing::warn!(target: "scylla::network", "scylla warning");
            tracing::trace!(target: "lmtp::session", "lmtp trace");
            tracing::info!(target: "signet", "signet info");
            // A crate of another, whose name only begins like ours.
            tracing::info!(target: "mail_parser", "parser info");
        });
        let text = written.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on_whatever_the_filter_says() {
        for filter in ["trace", "hyper=trace,fjall=trace,mail_parser=trace,lmtp=trace,signet=trace"] {
            for json in [false, true] {
                let text = logged(filter, json);
                for heard in ["fjall warning", "lmtp trace", "signet info"] {
                    assert!(text.contains(heard), "{filter}: {text}");
                }
                for unheard in ["hyper trace", "fjall info", "parser info"] {
                    assert!(!text.contains(unheard), "{filter}: {text}");
                }
            }
        }
    }

    #[test]
    fn the_filter_holds_for_our_own_words() {
        let text = logged("info", false);
        assert!(text.contains("signet info") && !text.contains("lmtp trace"), "{text}");
    }

    #[test]
    fn drivers_are_heard_where_the_filter_names_them() {
        for filter in ["info", "trace", "signet=debug", ""] {
            assert!(!logged(filter, false).contains("scylla"), "{filter}");
        }
        assert!(logged("info,scylla=warn", false).contains("scylla warning"));
    }

    #[test]
    fn a_panic_is_logged_without_its_text() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber("info", false, move || writer.clone()).unwrap();
        let before = std::panic::take_hook();
        hide_panic_texts();
        tracing::subscriber::with_default(subscriber, || {
            let _ = std::panic::catch_unwind(|| panic!("canary"));
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("logging.rs:") && !text.contains("canary"), "{text}");
    }

    #[test]
    fn what_is_no_filter_is_an_error() {
        for text in ["signet=loud=er", "info,,=x", "lmtp=loud"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
