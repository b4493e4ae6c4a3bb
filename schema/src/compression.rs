//! Messages made smaller before they are sealed.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::{Error, Result};

/// How the octets after the length are kept.
const STORED: u8 = 0;
const ZSTD: u8 = 1;
/// With the shipped dictionary, number 1.
const ZSTD_DICTIONARY: u8 = 2;

/// On messages of 8.7 KB, level 3 takes 1.4 times as long as level 1 for 2 % less.
const LEVEL: i32 = 1;
/// Messages larger than this gain nothing from a dictionary.
const DICTIONARY_OCTETS: usize = 256 << 10;
/// Made of synthetic messages only; see its README for how.
const DICTIONARY: &[u8] = include_bytes!("../dictionary/messages-1.zdict");

thread_local! {
    // Making a context costs more than compressing a small message with it.
    static SMALL: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static OPENER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Makes a message smaller: a form, its length (8 octets), the octets.
pub(crate) fn compress(raw: &[u8]) -> Vec<u8> {
    let length = (raw.len() as u64).to_le_bytes();
    let packed = if raw.len() <= DICTIONARY_OCTETS {
        SMALL.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = Compressor::with_dictionary(LEVEL, DICTIONARY).ok();
            }
            slot.as_mut().and_then(|compressor| compressor.compress(raw).ok())
        })
    } else {
        zstd::bulk::compress(raw, LEVEL).ok()
    };
    let form = if raw.len() <= DICTIONARY_OCTETS { ZSTD_DICTIONARY } else { ZSTD };
    match packed.filter(|packed| packed.len() < raw.len()) {
        Some(packed) => [&[form], length.as_slice(), &packed].concat(),
        None => [&[STORED], length.as_slice(), raw].concat(),
    }
}

/// The message that was made smaller.
pub(crate) fn decompress(packed: &[u8]) -> Result<Vec<u8>> {
    let damaged = || Error::Damaged { what: "a blob" };
    let (form, rest) = packed.split_first().ok_or_else(damaged)?;
    let (length, body) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
    let raw = match *form {
        STORED => body.to_vec(),
        ZSTD => zstd::bulk::decompress(body, length).map_err(|_| damaged())?,
        ZSTD_DICTIONARY => OPENER.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = Decompressor::with_dictionary(DICTIONARY).ok();
            }
            slot.as_mut().and_then(|opener| opener.decompress(body, length).ok()).ok_or_else(damaged)
        })?,
        _ => return Err(damaged()),
    };
    if raw.len() == length { Ok(raw) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        let text = b"Subject: hello\r\n\r\nhello hello hello\r\n".repeat(50);
        let noise: Vec<u8> = (0..5_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let large = text.repeat(200);
        for raw in [&b""[..], b"x", &text, &noise, &large] {
            assert_eq!(decompress(&compress(raw)).unwrap(), raw);
        }
        assert!(compress(&text).len() < text.len() / 4);
    }

    #[test]
    fn damaged_octets_are_an_error() {
        let packed = compress(&b"hello hello hello hello".repeat(20));
        for broken in [&[][..], &packed[..5], &packed[..packed.len() - 1], &[9; 20]] {
            assert!(decompress(broken).is_err());
        }
    }
}
