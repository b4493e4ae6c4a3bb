//! The certificates that sign the servers'.

use std::path::Path;

use crate::StartError;

/// The file's PEM text.
///
/// # Errors
/// [`StartError::Unusable`] if it cannot be read, or holds no certificate.
pub(crate) fn read(path: &Path, server: &'static str) -> Result<String, StartError> {
    let unusable = |reason| StartError::Unusable { server, reason };
    let text = std::fs::read_to_string(path)
        .map_err(|error| unusable(format!("{} cannot be read: {error}", path.display())))?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(unusable(format!("{} holds no certificate (PEM)", path.display())));
    }
    Ok(text)
}
