//! Delivery reports (RFC 3462, RFC 3464).

use serde::{Deserialize, Serialize};

use crate::{charset, field, structure::Tree};

/// Octets of a report that are read.
const REPORT_BYTES: usize = 256 << 10;
/// Recipients that are read.
const RECIPIENTS: usize = 1_000;

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

pub(crate) fn of(tree: &Tree<'_>) -> Option<Report> {
    let id = tree.leaves(0).into_iter().find(|id| {
        matches!(
            tree.nodes[*id].media.essence.as_str(),
            "message/delivery-status" | "message/global-delivery-status"
        )
    })?;
    let content = tree.content(id, REPORT_BYTES);
    Some(Report { recipients: recipients(&charset::decode(&content, None)) })
}

/// The groups of fields that name a recipient (RFC 3464 §2.3).
fn recipients(text: &str) -> Vec<ReportedRecipient> {
    let mut found = Vec::new();
    let mut group: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            found.extend(recipient(&group));
            group.clear();
            if found.len() >= RECIPIENTS {
                break;
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_string()));
        }
    }
    found
}

fn recipient(group: &[(String, String)]) -> Option<ReportedRecipient> {
    let value = |name: &str| group.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let address = value("final-recipient").or_else(|| value("original-recipient"))?;
    let recipient = field::clean(untyped(address)).trim_matches(['<', '>']).to_string();
    Some(ReportedRecipient {
        recipient,
        action: value("action").map(|v| word(v).to_ascii_lowercase()).filter(|v| !v.is_empty()),
        status: value("status").map(|v| word(v).to_string()).filter(|v| !v.is_empty()),
        diagnostic: value("diagnostic-code").map(|v| field::clean(untyped(v))).filter(|v| !v.is_empty()),
    })
}

fn word(value: &str) -> &str {
    value.split_whitespace().next().unwrap_or("")
}

/// What follows `rfc822;` or `smtp;`.
fn untyped(value: &str) -> &str {
    match value.split_once(';') {
        Some((kind, rest)) if !kind.contains(char::is_whitespace) => rest.trim(),
        _ => value.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_became_of_each_recipient() {
        let text = "Reporting-MTA: dns; mx.example.org\r\n\r\n\
            Final-Recipient: rfc822; a@example.org\r\nAction: Failed\r\nStatus: 5.1.1 (no such user)\r\n\
            Diagnostic-Code: smtp; 550 5.1.1\r\n unknown\r\n\r\n\
            Original-Recipient: rfc822;<b@example.org>\r\nAction: delayed\r\n";
        let found = recipients(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].recipient, "a@example.org");
        assert_eq!(found[0].action.as_deref(), Some("failed"));
        assert_eq!(found[0].status.as_deref(), Some("5.1.1"));
        assert_eq!(found[0].diagnostic.as_deref(), Some("550 5.1.1 unknown"));
        assert_eq!(found[1].recipient, "b@example.org");
        assert_eq!(found[1].status, None);
    }
}
