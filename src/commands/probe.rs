//! `signet probe`: a mail through the door that everybody uses, awaited where its owner reads and searches.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::print;
use crate::arguments::ProbeArguments;
use crate::failure::Failure;
use crate::probe::{self, Course, Options, Step, metrics};

/// Probes once. It needs neither a configuration nor a process on this machine.
///
/// # Errors
/// 2 if the command line is none, 78 if a file that it names cannot be used, else 1, with the step that failed.
pub fn run(arguments: &ProbeArguments, json: bool) -> Result<(), Failure> {
    let options = Options::new(arguments)?;
    let mut course = Course::begin(options.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(probe::run(&options, &mut course));
    // A name that is still being looked up would hold the end back.
    runtime.shutdown_background();
    let written = options.metrics.as_deref().map_or(Ok(()), |path| {
        metrics::write(path, &metrics::text(&course, Timestamp::now())).map_err(|error| {
            Failure::other(format!("the metrics were not written to {}: {error}", path.display()))
        })
    });
    match (ended, written) {
        (Ok(()), Ok(())) => {
            print(json, &as_json(&course), &as_line(&course));
            Ok(())
        }
        (Ok(()), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(unwritten)) => {
            if !json {
                eprintln!("signet: {unwritten}");
            }
            Err(failure)
        }
    }
}

fn as_json(course: &Course) -> Value {
    let milliseconds = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let steps: Map<String, Value> = course
        .done()
        .map(|(step, after)| (step.name().to_owned(), json!(milliseconds(after.as_secs_f64()))))
        .collect();
    json!({ "ok": true, "steps": steps })
}

fn as_line(course: &Course) -> String {
    let shown = course.done().filter_map(|(step, after)| {
        let word = match step {
            Step::Send => "taken",
            Step::List => "listed",
            Step::Search => "found",
            Step::SignIn | Step::Delete => return None,
        };
        Some(format!("{word} after {:.2} s", after.as_secs_f64()))
    });
    shown.collect::<Vec<_>>().join(", ")
}
