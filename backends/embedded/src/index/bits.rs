//! A set of a segment's documents, one bit each.

/// Which of `len` documents are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub fn all(len: usize) -> Self {
        let mut bits = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        bits.trim();
        bits
    }

    /// The documents for which `test` holds.
    pub fn of(len: usize, test: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::none(len);
        for index in (0..len).filter(|&index| test(index)) {
            bits.words[index / 64] |= 1 << (index % 64);
        }
        bits
    }

    /// Adds a document; one outside the set's range is no member.
    #[inline]
    pub fn insert(&mut self, index: u32) {
        if (index as usize) < self.len {
            self.words[index as usize / 64] |= 1 << (index % 64);
        }
    }

    #[inline]
    pub fn contains(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub fn intersect(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub fn unite(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(index as u32 * 64 + bit)
            })
        })
    }

    fn trim(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_its_inverse_the_rest() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mut bits = Bits::of(len, |index| index % 3 == 0);
            bits.insert(len as u32);
            let members: Vec<u32> = (0..len as u32).filter(|index| index % 3 == 0).collect();
            assert_eq!(bits.iter().collect::<Vec<_>>(), members);
            assert_eq!(bits.count(), members.len() as u64);
            bits.invert();
            assert!(bits.iter().all(|index| index % 3 != 0 && (index as usize) < len));
            assert_eq!(bits.count(), (len - members.len()) as u64);
            assert_eq!(Bits::all(len).count(), len as u64);
        }
    }
}
