//! Integers out of bytes. bbolt writes little-endian on every platform that is supported here, etcd's own keys and values
//! are big-endian; this is the only module that converts either.

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// bbolt's u16 at an offset.
pub(crate) fn le_u16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// bbolt's u32 at an offset.
pub(crate) fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// bbolt's u64 at an offset.
pub(crate) fn le_u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// etcd's u64 at an offset.
pub(crate) fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// A protobuf varint at the start, and how many bytes it takes.
#[inline(always)]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    // Most are tags and lengths of one byte.
    if let Some(&byte) = bytes.first().filter(|byte| **byte < 0x80) {
        return Some((u64::from(byte), 1));
    }
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds the last bit.
        if index == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_only() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(le_u16(&bytes, 6), Some(0x0807));
        assert_eq!(le_u16(&bytes, 7), None);
        assert_eq!(le_u32(&bytes, 0), Some(0x0403_0201));
        assert_eq!(le_u64(&bytes, 1), None);
        assert_eq!(be_u64(&bytes, 0), Some(0x0102_0304_0506_0708));
        assert_eq!(be_u64(&bytes, usize::MAX), None);
    }

    #[test]
    fn varints() {
        assert_eq!(varint(&[0x00]), Some((0, 1)));
        assert_eq!(varint(&[0xac, 0x02, 0xff]), Some((300, 2)));
        assert_eq!(varint(&[0xff; 9]), None);
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(varint(&most), Some((u64::MAX, 10)));
        most[9] = 2;
        assert_eq!(varint(&most), None);
    }
}
