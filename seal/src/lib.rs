//! WHAT HIDES IT: keys, sealed bytes and blind search tokens.
