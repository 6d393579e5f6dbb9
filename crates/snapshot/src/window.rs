//! A buffer of fixed size over a part of the source.

use std::io;

use crate::Source;

/// Most bytes that one read asks for, whatever the file claims: the longest key, or a piece of a value, fits.
pub(crate) const WINDOW_BYTES: usize = 64 << 10;

/// Bytes of the source, from `start`.
#[derive(Debug, Default)]
pub(crate) struct Window {
    start: u64,
    /// A buffer that only grows, and how much of it is filled.
    bytes: Vec<u8>,
    length: usize,
}

impl Window {
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether it holds `length` bytes from `offset`.
    pub(crate) fn holds(&self, offset: u64, length: usize) -> bool {
        self.range(offset, length).is_some()
    }

    /// `length` bytes from `offset`, read from the source if it does not hold them; then up to `end`, as far as they fit.
    /// The caller has compared the range with the source's length; `length` is at most [`WINDOW_BYTES`].
    pub(crate) fn get(&mut self, source: &dyn Source, offset: u64, length: usize, end: u64) -> io::Result<&[u8]> {
        if !self.holds(offset, length) {
            let ahead = usize::try_from(end.saturating_sub(offset)).unwrap_or(WINDOW_BYTES).clamp(length, WINDOW_BYTES);
            source.read_at(offset, self.buffer(offset, ahead))?;
            self.length = ahead;
        }
        self.slice(offset, length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// `length` bytes from `offset`, if it holds them.
    pub(crate) fn slice(&self, offset: u64, length: usize) -> Option<&[u8]> {
        self.bytes.get(self.range(offset, length)?)
    }

    /// All that it holds from `offset` on.
    #[inline]
    pub(crate) fn from(&self, offset: u64) -> Option<&[u8]> {
        self.bytes.get(..self.length)?.get(usize::try_from(offset.checked_sub(self.start)?).ok()?..)
    }

    /// Takes the place of what was held.
    pub(crate) fn set(&mut self, offset: u64, bytes: &[u8]) {
        self.buffer(offset, bytes.len()).copy_from_slice(bytes);
        self.length = bytes.len();
    }

    /// Room for bytes from `offset`, which are not held yet.
    fn buffer(&mut self, offset: u64, length: usize) -> &mut [u8] {
        self.length = 0;
        self.start = offset;
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        &mut self.bytes[..length]
    }

    fn range(&self, offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.length).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ahead_but_not_beyond() -> io::Result<()> {
        let source: Vec<u8> = (0..=255).collect();
        let mut window = Window::default();
        assert_eq!(window.get(&source, 10, 2, 20)?, [10, 11]);
        assert!(window.holds(18, 2) && !window.holds(19, 2) && !window.holds(9, 1));
        assert_eq!(window.get(&source, 250, 6, 256)?, [250, 251, 252, 253, 254, 255]);
        assert!(window.get(&source, 250, 7, 257).is_err());
        assert!(!window.holds(250, 1));
        Ok(())
    }
}
