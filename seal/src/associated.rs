//! Associated data: what a sealed value is bound to, so that it opens nowhere else.

/// Where a sealed value stands: its table (or key space), the row's key in it, and the field in the row.
///
/// A value opens only at the place it was sealed for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table's name.
    pub table: &'static str,
    /// The row's whole key, as the store has it.
    pub key: &'a [u8],
    /// The field's name, or `""` if the row is sealed as one.
    pub field: &'static str,
}

/// What kind of thing is sealed; the first octet of the associated data. The numbers are part of the stored format.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    AccountValue = 1,
    AccountChunk = 2,
    InstanceValue = 3,
    AccountKey = 4,
    InstanceKey = 5,
    EpochKey = 6,
}

/// Associated data under construction: fixed-size parts first, then parts with their length before them, so that no two
/// different lists of parts read the same.
pub(crate) struct Associated(Vec<u8>);

impl Associated {
    pub(crate) fn new(kind: Kind, owner: &[u8; 16], key_id: u32) -> Associated {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(kind as u8);
        bytes.extend_from_slice(&key_id.to_le_bytes());
        Associated(bytes).with(owner)
    }

    pub(crate) fn of_place(kind: Kind, owner: &[u8; 16], key_id: u32, place: Place<'_>) -> Associated {
        Associated::new(kind, owner, key_id)
            .with(place.table.as_bytes())
            .with(place.key)
            .with(place.field.as_bytes())
    }

    pub(crate) fn with(mut self, part: &[u8]) -> Associated {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
