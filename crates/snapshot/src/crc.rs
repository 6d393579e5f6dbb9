//! CRC-32C of strings whose parts are known only by their own CRCs and lengths.
//!
//! Bytes of zero behind a string multiply its CRC by a power of x, which is a linear map. The maps for 2^n bytes are made
//! once; then a length is as many multiplications as it has bits set.

/// A linear map over 32 bits: what each bit becomes.
type Map = [u32; 32];

/// How many powers of two a length has at most.
const POWERS: usize = 48;

/// x^8 in the reflected form of CRC-32C's polynomial: what one byte of zero does to each bit.
const ONE_BYTE: Map = {
    let mut map = [0; 32];
    let mut bit = 0;
    while bit < 32 {
        let mut value = 1_u32 << bit;
        let mut step = 0;
        while step < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82F6_3B78 } else { value >> 1 };
            step += 1;
        }
        map[bit] = value;
        bit += 1;
    }
    map
};

/// Moves CRCs in front of other strings.
#[derive(Debug)]
pub(crate) struct Splice {
    powers: Vec<Map>,
}

impl Splice {
    pub(crate) fn new() -> Self {
        let square = |map: &Map| map.map(|value| apply(map, value));
        Self { powers: std::iter::successors(Some(ONE_BYTE), |map| Some(square(map))).take(POWERS).collect() }
    }

    /// The CRC of two strings one after the other; the second is so many bytes long.
    pub(crate) fn append(&self, first: u32, second: u32, bytes: u64) -> u32 {
        let set = self.powers.iter().enumerate().filter(|(power, _)| bytes >> power & 1 == 1);
        set.fold(first, |crc, (_, map)| apply(map, crc)) ^ second
    }

    /// The CRC of the last `bytes` of a string, from that of what is before them and that of all.
    pub(crate) fn last(&self, before: u32, all: u32, bytes: u64) -> u32 {
        self.append(before, 0, bytes) ^ all
    }
}

fn apply(map: &Map, value: u32) -> u32 {
    map.iter().enumerate().fold(0, |sum, (bit, column)| sum ^ column & (value >> bit & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use crc32c::{crc32c, crc32c_append, crc32c_combine};

    use super::*;

    #[test]
    fn parts_of_a_crc() {
        let splice = Splice::new();
        let (start, rows) = (&b"alarmkey"[..], &b"some rows"[..]);
        let (before, all) = (crc32c(start), crc32c_append(crc32c(start), rows));
        let bytes = rows.len() as u64;
        assert_eq!(splice.last(before, all, bytes), crc32c(rows));
        assert_eq!(splice.append(crc32c(b"key"), crc32c(rows), bytes), crc32c(b"keysome rows"));
        assert_eq!((splice.last(before, before, 0), splice.append(before, 0, 0)), (0, before));
        for bytes in [1, 255, 4096, 1_000_003, 3 << 30] {
            assert_eq!(splice.append(before, 7, bytes as u64), crc32c_combine(before, 7, bytes), "{bytes}");
        }
    }
}
