//! Delivery reports (RFC 3462, RFC 3464).

use serde::{Deserialize, Serialize};

/// What a delivery report says, a recipient at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The recipients that it reports on, in order.
    pub recipients: Vec<ReportedRecipient>,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRecipient {
    /// `Final-Recipient:`, else `Original-Recipient:`, without its address type.
    pub recipient: String,
    /// `Action:`, lower-cased: failed, delayed, delivered, relayed or expanded.
    pub action: Option<String>,
    /// `Status:` (RFC 3463), such as `5.1.1`.
    pub status: Option<String>,
    /// `Diagnostic-Code:` without its type.
    pub diagnostic: Option<String>,
}
