//! Values that are not to be printed and not to be left in memory.

use std::fmt;
use zeroize::Zeroize;

/// A value whose `Debug` shows nothing and whose memory is overwritten when it is dropped.
///
/// It has no `Display` and no `Serialize`, so that it cannot reach a log or an answer by accident; [`Secret::expose`] is
/// the one way out and easy to search for.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in. Copies made before are not its to overwrite.
    pub fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value itself.
    pub fn expose(&self) -> &T {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Secret<T> {
        Secret(value)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret<T>, D::Error> {
        T::deserialize(deserializer).map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_a_secret_shows_nothing_of_it() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            format!("{secret:?} {:#?} {:?}", secret, Some(&secret)),
            "[hidden] [hidden] Some([hidden])"
        );
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_is_read_like_the_value_it_holds() {
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, StrDeserializer};
        let text: StrDeserializer<'_, Error> = "hunter2".into_deserializer();
        let secret: Secret<String> = serde::Deserialize::deserialize(text).unwrap();
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_dropped_secret_was_overwritten() {
        struct Seen<'a>(&'a std::cell::Cell<bool>);
        impl Zeroize for Seen<'_> {
            fn zeroize(&mut self) {
                self.0.set(true);
            }
        }
        let seen = std::cell::Cell::new(false);
        drop(Secret::new(Seen(&seen)));
        assert!(seen.get());
    }
}
