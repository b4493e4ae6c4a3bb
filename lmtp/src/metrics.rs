//! What is counted of the LMTP side. No label says who.

use std::time::Duration;

use crate::reply::Reply;

const RECIPIENTS: &str = "signet_lmtp_recipients_total";
/// Last replies that are counted from 0: the first fault after a start would be no increase of a counter that begins with it.
const LOOKED_FOR: [Reply; 6] = [
    Reply::FAULT,
    Reply::NO_ROOM,
    Reply::UNKNOWN_ADDRESS,
    Reply::UNKNOWN_DOMAIN,
    Reply::TOO_BIG,
    Reply::BARE_LF,
];

/// Counters that are asked for once, not at every message.
pub(crate) struct Metrics {
    kept: metrics::Counter,
    seconds: metrics::Histogram,
    connections: metrics::Gauge,
    connections_total: metrics::Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let connections = "signet_lmtp_connections";
        metrics::describe_counter!(
            RECIPIENTS,
            "Recipients by their last reply: accepted, refused or deferred, and why"
        );
        metrics::describe_gauge!(connections, "Connections open now");
        metrics::describe_counter!("signet_lmtp_connections_total", "Connections accepted");
        metrics::describe_counter!("signet_lmtp_connections_refused_total", "Connections refused, and why");
        metrics::describe_histogram!(
            "signet_lmtp_keep_seconds",
            metrics::Unit::Seconds,
            "From the end of a message's content to its replies"
        );
        for reply in LOOKED_FOR {
            recipients(reply).increment(0);
        }
        Self {
            kept: recipients(Reply::KEPT),
            seconds: metrics::histogram!("signet_lmtp_keep_seconds"),
            connections: metrics::gauge!(connections),
            connections_total: metrics::counter!("signet_lmtp_connections_total"),
        }
    }

    /// Counts a recipient's last reply.
    pub(crate) fn count(&self, reply: Reply) {
        if reply == Reply::KEPT {
            self.kept.increment(1);
            return;
        }
        recipients(reply).increment(1);
    }

    /// Notes how long keeping a message took.
    pub(crate) fn time(&self, time: Duration) {
        self.seconds.record(time);
    }

    /// Counts a connection that is served, until what is returned is dropped.
    pub(crate) fn connected(&self) -> Open {
        self.connections_total.increment(1);
        self.connections.increment(1);
        Open(self.connections.clone())
    }

    /// Counts a connection that is not served.
    pub(crate) fn refused(&self, why: &'static str) {
        metrics::counter!("signet_lmtp_connections_refused_total", "reason" => why).increment(1);
    }
}

/// Counts recipients whose last reply this was.
fn recipients(reply: Reply) -> metrics::Counter {
    let outcome = match reply {
        _ if reply.is_positive() => "accepted",
        _ if reply.is_transient() => "deferred",
        _ => "refused",
    };
    metrics::counter!(RECIPIENTS, "outcome" => outcome, "reason" => reply.enhanced)
}

/// A connection that is open.
pub(crate) struct Open(metrics::Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_from_zero() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, Metrics::new);
        let text = recorder.handle().render();
        for labels in [r#"outcome="deferred",reason="4.3.0""#, r#"outcome="refused",reason="5.1.2""#] {
            assert!(text.contains(&format!("{RECIPIENTS}{{{labels}}} 0\n")), "{text}");
        }
    }
}
