//! Numbers as octets: varints and packed bits, read with every bound checked, because what is read may be damaged.

/// Appends `value` in 7-bit groups, least significant first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Maps small negative and positive differences to small numbers.
pub fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)) as u64
}

/// What [`zigzag`] was given.
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends the low `width` bits of each value, `width` 0–64, padded with zero bits to whole octets.
pub fn pack(out: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let mut buffer = 0u128;
    let mut filled = 0;
    for value in values {
        buffer |= u128::from(value) << filled;
        filled += width;
        while filled >= 8 {
            out.push(buffer as u8);
            buffer >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(buffer as u8);
    }
}

/// How many octets [`pack`] makes of `count` values.
pub fn packed_len(count: usize, width: u32) -> Option<usize> {
    Some(count.checked_mul(width as usize)?.div_ceil(8))
}

/// The value `index` of what [`pack`] wrote at the start of `bytes`; octets beyond it may be anything.
#[inline]
pub fn unpack(bytes: &[u8], index: usize, width: u32) -> Option<u64> {
    if width == 0 {
        return Some(0);
    }
    let bit = index * width as usize;
    let start = bit / 8;
    let window = match bytes.get(start..start + 16) {
        Some(window) => u128::from_le_bytes(window.try_into().ok()?),
        None => {
            let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
            let mut window = [0; 16];
            window[..rest.len()].copy_from_slice(rest);
            u128::from_le_bytes(window)
        }
    };
    Some((window >> (bit % 8)) as u64 & (u64::MAX >> (64 - width)))
}

/// Reads numbers from the front of a slice. `None` where the slice does not hold what is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn octet(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.bytes.split_first()?;
        if first < 0x80 {
            self.bytes = rest;
            return Some(u64::from(first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (index, &octet) in self.bytes.iter().enumerate().take(10) {
            if index == 9 && octet > 1 {
                return None;
            }
            value |= u64::from(octet & 0x7f) << (7 * index);
            if octet < 0x80 {
                self.bytes = &self.bytes[index + 1..];
                return Some(value);
            }
        }
        None
    }

    #[inline]
    pub fn varint32(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    /// A number of things of at least `least` octets each that follow: more than the slice can hold is damage, so
    /// that no damaged number ever asks for memory.
    pub fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.varint()?).ok()?;
        (count.checked_mul(least)? <= self.bytes.len()).then_some(count)
    }

    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    /// The octets of the next `count` varints.
    #[inline]
    pub fn take_varints(&mut self, count: u32) -> Option<&'a [u8]> {
        let mut left = count as usize;
        let mut end = 0;
        while left >= 8 {
            let Some(window) = self.bytes.get(end..end + 8) else { break };
            let window = u64::from_le_bytes(window.try_into().ok()?);
            left -= (!window & 0x8080_8080_8080_8080).count_ones() as usize;
            end += 8;
        }
        while left > 0 {
            if *self.bytes.get(end)? < 0x80 {
                left -= 1;
            }
            end += 1;
        }
        self.take(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_read_back_as_written(values in prop::collection::vec(any::<u64>().prop_flat_map(|v| (0..64u32).prop_map(move |s| v >> s)), 0..80)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|&value| put_varint(&mut bytes, value));
            let mut reader = Reader::new(&bytes);
            for &value in &values {
                prop_assert_eq!(reader.varint(), Some(value));
            }
            prop_assert!(reader.is_empty());
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.take_varints(values.len() as u32), Some(&bytes[..]));
        }

        #[test]
        fn packed_bits_read_back_as_written(width in 0..=64u32, values in prop::collection::vec(any::<u64>(), 0..50)) {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let mut bytes = Vec::new();
            pack(&mut bytes, values.iter().map(|value| value & mask), width);
            prop_assert_eq!(Some(bytes.len()), packed_len(values.len(), width));
            for (index, value) in values.iter().enumerate() {
                prop_assert_eq!(unpack(&bytes, index, width), Some(value & mask));
            }
        }

        #[test]
        fn zigzag_is_undone(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn any_octets_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), count in any::<u32>()) {
            let mut reader = Reader::new(&bytes);
            while reader.varint().is_some() {}
            let _ = Reader::new(&bytes).take_varints(count);
            let _ = Reader::new(&bytes).count(3);
        }
    }
}
