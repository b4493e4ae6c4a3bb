//! What a probe leaves for node exporter's textfile collector.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use jiff::Timestamp;

use super::{Course, Step};

/// Whoever collects is somebody else.
const MODE: u32 = 0o644;

/// The metrics of a probe that ended at `ended`, in Prometheus's text format.
pub fn text(course: &Course, ended: Timestamp) -> String {
    let is_whole = course.done().count() == Step::ALL.len() && course.failed().is_none();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: Vec<(Option<Step>, f64)>| {
        let name = format!("signet_probe_{name}");
        text += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (step, value) in samples {
            let labels = step.map(|step| format!("{{step=\"{}\"}}", step.name())).unwrap_or_default();
            text += &format!("{name}{labels} {value}\n");
        }
    };
    let one = |is_so: bool| f64::from(u8::from(is_so));
    gauge("success", "Whether the last probe went through.", vec![(None, one(is_whole))]);
    gauge(
        "step_seconds",
        "When each step of the last probe was done, since its beginning.",
        course.done().map(|(step, after)| (Some(step), after.as_secs_f64())).collect(),
    );
    gauge(
        "failed",
        "Whether this is the step that the last probe failed at.",
        Step::ALL.map(|step| (Some(step), one(course.failed() == Some(step)))).to_vec(),
    );
    let ended = ended.as_millisecond() as f64 / 1000.0;
    gauge("timestamp_seconds", "When the last probe ended.", vec![(None, ended)]);
    text
}

/// Puts `text` into `path` at once: whoever reads it meanwhile finds the former or this.
///
/// # Errors
/// If the directory cannot be written to.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // The collector reads what ends in .prom.
    let new = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let _ = fs::remove_file(&new);
    let written = put(&new, text).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(MODE).open(path)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn course(done: &[(Step, u64)], failed: Option<Step>) -> Course {
        let done = done.iter().map(|&(step, after)| (step, Duration::from_millis(after))).collect();
        Course { began: Instant::now(), time: Duration::from_secs(30), done, failed }
    }

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[tokio::test]
    async fn a_probe_that_went_through_says_when_each_step_was_done() {
        let done: Vec<(Step, u64)> = Step::ALL.into_iter().zip([20, 500, 600, 1250, 1300]).collect();
        let text = text(&course(&done, None), Timestamp::new(1_795_000_000, 250_000_000).unwrap());
        let wanted = [
            "signet_probe_success 1",
            "signet_probe_step_seconds{step=\"sign_in\"} 0.02",
            "signet_probe_step_seconds{step=\"send\"} 0.5",
            "signet_probe_step_seconds{step=\"list\"} 0.6",
            "signet_probe_step_seconds{step=\"search\"} 1.25",
            "signet_probe_step_seconds{step=\"delete\"} 1.3",
            "signet_probe_failed{step=\"sign_in\"} 0",
            "signet_probe_failed{step=\"send\"} 0",
            "signet_probe_failed{step=\"list\"} 0",
            "signet_probe_failed{step=\"search\"} 0",
            "signet_probe_failed{step=\"delete\"} 0",
            "signet_probe_timestamp_seconds 1795000000.25",
        ];
        assert_eq!(samples(&text), wanted);
        for name in ["success", "step_seconds", "failed", "timestamp_seconds"] {
            let head = format!("# HELP signet_probe_{name} ");
            let at = text.find(&head).expect(name);
            let mut lines = text[at..].lines().skip(1);
            assert_eq!(lines.next(), Some(&*format!("# TYPE signet_probe_{name} gauge")));
            assert!(lines.next().is_some_and(|line| line.starts_with(&format!("signet_probe_{name}"))));
        }
    }

    #[tokio::test]
    async fn a_probe_that_failed_names_its_step_and_those_before() {
        let done = [(Step::SignIn, 20), (Step::Send, 500)];
        let text = text(&course(&done, Some(Step::List)), Timestamp::UNIX_EPOCH);
        let samples = samples(&text);
        assert_eq!(samples[0], "signet_probe_success 0");
        assert_eq!(samples.iter().filter(|line| line.contains("step_seconds")).count(), 2);
        let failed: Vec<_> = samples.iter().filter(|line| line.ends_with("} 1")).collect();
        assert_eq!(failed, [&"signet_probe_failed{step=\"list\"} 1"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_can_be_read_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signet_probe.prom");
        for text in ["a longer text\n", "short\n"] {
            write(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write(&directory.path().join("missing/signet_probe.prom"), "").is_err());
        assert!(write(Path::new("/"), "").is_err());
    }
}
