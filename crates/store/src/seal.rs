//! Bytes on their way into a store: compressed, then encrypted. `age -d | zstd -d` gives them back.

use std::io::{self, Write};

use age::Encryptor;
use age::stream::StreamWriter;

use crate::Encryption;

/// zstd's own default: the last level at which a processor keeps up with a disk.
const LEVEL: i32 = 3;

/// Compresses and encrypts what is written to it, in one pass and with a few MiB of memory.
///
/// One zstd frame with a checksum, of one thread. Without [`Sealer::finish`] what came out is incomplete, and is refused when it is read.
pub struct Sealer<W: Write>(Kind<W>);

enum Kind<W: Write> {
    Encrypted(zstd::Encoder<'static, StreamWriter<W>>),
    Clear(zstd::Encoder<'static, W>),
}

impl<W: Write> Sealer<W> {
    /// Writes the header of the encryption, if there is one.
    ///
    /// # Errors
    /// `output` cannot be written to.
    pub fn new(output: W, encryption: &Encryption) -> io::Result<Sealer<W>> {
        Ok(Sealer(match encryption {
            Encryption::Recipients(recipients) => {
                let encryptor = Encryptor::with_recipients(recipients.dynamic()).map_err(io::Error::other)?;
                Kind::Encrypted(compress(encryptor.wrap_output(output)?)?)
            }
            Encryption::Off => Kind::Clear(compress(output)?),
        }))
    }

    /// Writes what is left, and the ends of the compression and of the encryption. Gives back where it was written to.
    ///
    /// # Errors
    /// `output` cannot be written to.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::Encrypted(encoder) => encoder.finish()?.finish(),
            Kind::Clear(encoder) => encoder.finish(),
        }
    }
}

fn compress<W: Write>(output: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(output, LEVEL)?;
    // Also where nothing is encrypted, a changed byte is noticed by whoever unpacks.
    encoder.include_checksum(true)?;
    Ok(encoder)
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Encrypted(encoder) => encoder.write(bytes),
            Kind::Clear(encoder) => encoder.write(bytes),
        }
    }

    /// Passes on what can be passed on; whole pieces of the encryption only.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Encrypted(encoder) => encoder.flush(),
            Kind::Clear(encoder) => encoder.flush(),
        }
    }
}
