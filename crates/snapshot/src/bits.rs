//! A set of numbers from 0 on, a bit each.

/// Grows as far as its highest number.
#[derive(Debug, Default)]
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
        assert_eq!((0..2000).filter(|&number| bits.contains(number)).collect::<Vec<_>>(), [0, 63, 64, 1000]);
    }
}
