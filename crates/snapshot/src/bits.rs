//! A set of numbers from 0 on, a bit each.

use std::ops::Range;

/// Grows as far as its highest number.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(crate) fn insert(&mut self, number: u32) {
        let index = (number / u64::BITS) as usize;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        if let Some(word) = self.words.get_mut(index) {
            *word |= 1 << (number % u64::BITS);
        }
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        let word = self.words.get((number / u64::BITS) as usize);
        word.is_some_and(|word| word & (1 << (number % u64::BITS)) != 0)
    }

    /// Whether any number of a range is in the set.
    pub(crate) fn any(&self, range: Range<u32>) -> bool {
        let bit = |number| (number % u64::BITS, (number / u64::BITS) as usize);
        let ((first_bit, first), (end_bit, last)) = (bit(range.start), bit(range.end));
        let words = self.words.get(first..self.words.len().min(last + 1)).unwrap_or_default();
        words.iter().zip(first..).any(|(&word, index)| {
            let above = if index == first { u64::MAX << first_bit } else { u64::MAX };
            let below = if index == last { (1 << end_bit) - 1 } else { u64::MAX };
            word & above & below != 0
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let mut bits = Bits::default();
        assert!(bits.is_empty() && !bits.contains(0));
        [0, 63, 64, 1000].into_iter().for_each(|number| bits.insert(number));
        assert!(!bits.is_empty());
        for (range, any) in
            [(0..1, true), (1..63, false), (1..64, true), (65..1000, false), (65..1001, true), (1001..9999, false)]
        {
            assert_eq!(bits.any(range.clone()), any, "{range:?}");
        }
        assert!(!bits.any(64..64));
        assert_eq!((0..2000).filter(|&number| bits.contains(number)).collect::<Vec<_>>(), [0, 63, 64, 1000]);
    }
}
