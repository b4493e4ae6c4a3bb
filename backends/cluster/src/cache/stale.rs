//! What Redis still holds and should not.

use std::collections::HashSet;

/// Keys remembered at most; beyond that everything is stale.
const MOST: usize = 10_000;

/// Keys whose values were replaced or removed while Redis was gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    keys: HashSet<Vec<u8>>,
    everything: bool,
}

impl Stale {
    pub(super) fn note(&mut self, key: Vec<u8>) {
        self.add(Self { keys: HashSet::from([key]), everything: false });
    }

    pub(super) fn add(&mut self, other: Self) {
        self.everything |= other.everything;
        if !self.everything {
            self.keys.extend(other.keys);
            self.everything = self.keys.len() > MOST;
        }
        if self.everything {
            self.keys = HashSet::new();
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(Vec::as_slice)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }
}

/// The pattern, as Redis reads it, of all keys that begin with `beginning`.
pub(super) fn pattern(beginning: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(beginning.len() + 1);
    for &octet in beginning {
        if b"*?[]^\\".contains(&octet) {
            pattern.push(b'\\');
        }
        pattern.push(octet);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_limit_everything_is_stale_and_nothing_is_remembered() {
        let mut stale = Stale::default();
        for key in 0..MOST {
            stale.note(key.to_be_bytes().to_vec());
            stale.note(key.to_be_bytes().to_vec());
        }
        assert!(!stale.is_everything());
        assert_eq!(stale.keys().count(), MOST);
        stale.note(b"one more".to_vec());
        assert!(stale.is_everything());
        assert_eq!(stale.keys().count(), 0);
        stale.note(b"another".to_vec());
        assert_eq!(stale.keys().count(), 0);
    }

    #[test]
    fn what_failed_to_be_removed_is_stale_still() {
        let mut stale = Stale::default();
        stale.note(b"new".to_vec());
        let mut old = Stale::default();
        old.note(b"old".to_vec());
        stale.add(old);
        assert_eq!(stale.keys().count(), 2);
        stale.add(Stale { everything: true, ..Stale::default() });
        assert!(stale.is_everything());
    }

    #[test]
    fn a_pattern_matches_its_beginning_only() {
        assert_eq!(pattern(b"signet:v:"), b"signet:v:*");
        assert_eq!(pattern(b"a*[b]?\\"), b"a\\*\\[b\\]\\?\\\\*");
    }
}
