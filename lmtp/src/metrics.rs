//! What is counted of the LMTP side. No label says who.

use std::time::Duration;

use crate::reply::Reply;

/// Counters that are asked for once, not at every message.
pub(crate) struct Metrics {
    kept: metrics::Counter,
    seconds: metrics::Histogram,
    connections: metrics::Gauge,
    connections_total: metrics::Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let (recipients, connections) = ("signet_lmtp_recipients_total", "signet_lmtp_connections");
        metrics::describe_counter!(
            recipients,
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
        Self {
            kept: metrics::counter!(recipients, "outcome" => "accepted", "reason" => "2.0.0"),
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
        let outcome = match reply {
            _ if reply.is_positive() => "accepted",
            _ if reply.is_transient() => "deferred",
            _ => "refused",
        };
        metrics::counter!("signet_lmtp_recipients_total", "outcome" => outcome, "reason" => reply.enhanced)
            .increment(1);
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

/// A connection that is open.
pub(crate) struct Open(metrics::Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
