//! Bytes on their way out of a store: decrypted, then unpacked, in one pass.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use age::stream::StreamReader;
use age::{DecryptError, Decryptor};

use crate::Identities;

/// Bytes of the largest header of an encrypted file: more than [`crate::recipients::MOST`] recipients take. age reads a header again with
/// every line, and all of it into memory.
const HEADER: u64 = 16 << 10;

/// What is sealed cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// None of the identities fits.
    #[error(
        "no identity fits: the data is encrypted for others than {}",
        .0.join(", ")
    )]
    NoIdentityFits(Vec<String>),
    /// It is encrypted with a passphrase, which no backup of ours is.
    #[error("the data is encrypted with a passphrase, not for recipients")]
    Passphrase,
    /// It does not begin as a file of age does.
    #[error("the data does not begin as a file of age does: it is damaged, or not encrypted")]
    NotAge,
    /// It is cut or changed, or something follows.
    #[error("the data is damaged: {0}")]
    Damaged(String),
}

impl OpenError {
    /// What an error of reading says of the data. Nothing if it is an error of where the data comes from.
    pub fn of(error: &io::Error) -> Option<&OpenError> {
        error.get_ref()?.downcast_ref()
    }
}

/// The opened data: reads until its end, which is believed only once everything that was sealed has been checked, and nothing follows.
///
/// An error that the sealed data causes has kind [`io::ErrorKind::InvalidData`] and an [`OpenError`] in it. Any other is the source's own.
pub struct Opened<R: Read> {
    decoder: zstd::Decoder<'static, BufReader<Layer<Source<R>>>>,
    broken: Arc<AtomicBool>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    AtItsEnd,
    Failed,
}

enum Layer<R: Read> {
    Encrypted(Box<StreamReader<BufReader<R>>>),
    Clear(R),
}

impl<R: Read> Read for Layer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Layer::Encrypted(stream) => stream.read(buffer),
            Layer::Clear(source) => source.read(buffer),
        }
    }
}

/// Where sealed data comes from.
struct Source<R> {
    inner: R,
    /// Bytes that may still be read.
    left: Arc<AtomicU64>,
    /// Whether the last error was of the source itself.
    broken: Arc<AtomicBool>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Relaxed);
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..most).unwrap_or_default();
        let read = self.inner.read(buffer).inspect_err(|error| {
            self.broken.store(error.kind() != io::ErrorKind::Interrupted, Relaxed);
        })?;
        if left != u64::MAX {
            self.left.store(left - read as u64, Relaxed);
        }
        Ok(read)
    }
}

/// Opens what a [`crate::Sealer`] has sealed. With `encrypted` the data must be encrypted, without it must not be: what a record says counts.
///
/// # Errors
/// An error with an [`OpenError`] in it where the beginning of the data is wrong or no identity fits; any other is the source's own.
pub fn open_sealed<R: Read>(source: R, encrypted: bool, identities: &Identities) -> io::Result<Opened<R>> {
    let left = Arc::new(AtomicU64::new(if encrypted { HEADER } else { u64::MAX }));
    let broken = Arc::new(AtomicBool::new(false));
    let source = Source { inner: source, left: left.clone(), broken: broken.clone() };
    let layer = match encrypted {
        false => Layer::Clear(source),
        true => {
            let fail = |error| refused(error, &broken, identities);
            let decryptor = Decryptor::new_buffered(BufReader::new(source)).map_err(fail)?;
            if decryptor.is_scrypt() {
                return Err(invalid(OpenError::Passphrase));
            }
            let stream = decryptor.decrypt(identities.dynamic()).map_err(fail)?;
            left.store(u64::MAX, Relaxed);
            Layer::Encrypted(Box::new(stream))
        }
    };
    let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(1 << 17, layer))?.single_frame();
    Ok(Opened { decoder, broken, state: State::Reading })
}

fn invalid(error: OpenError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn refused(error: DecryptError, broken: &AtomicBool, identities: &Identities) -> io::Error {
    match error {
        DecryptError::Io(error) if broken.load(Relaxed) => error,
        DecryptError::NoMatchingKeys => invalid(OpenError::NoIdentityFits(identities.recipients())),
        DecryptError::InvalidHeader => invalid(OpenError::NotAge),
        error => invalid(OpenError::Damaged(why(&error))),
    }
}

/// What an error of age means, in words that are not translated.
pub(crate) fn why(error: &DecryptError) -> String {
    match error {
        DecryptError::InvalidHeader => "its header is not as age writes it".to_owned(),
        DecryptError::InvalidMac => "its header was changed".to_owned(),
        DecryptError::UnknownFormat => "it is of an unknown version of age".to_owned(),
        DecryptError::ExcessiveWork { required, .. } => {
            format!("its passphrase takes too much work: 2^{required} rounds")
        }
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it is cut in its header".to_owned(),
        DecryptError::Io(error) => error.to_string(),
        _ => "it cannot be decrypted".to_owned(),
    }
}

impl<R: Read> Opened<R> {
    /// After the end of the compressed data nothing may follow, and the encryption must end, too.
    fn end(&mut self) -> io::Result<()> {
        match self.decoder.get_mut().fill_buf()?.is_empty() {
            true => Ok(()),
            false => Err(invalid(OpenError::Damaged("something follows its end".to_owned()))),
        }
    }

    fn told(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        self.state = State::Failed;
        match self.broken.load(Relaxed) || OpenError::of(&error).is_some() {
            true => error,
            false => invalid(OpenError::Damaged(match error.kind() {
                io::ErrorKind::UnexpectedEof => "it is cut".to_owned(),
                _ => error.to_string(),
            })),
        }
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::AtItsEnd => return Ok(0),
            State::Failed => return Err(invalid(OpenError::Damaged("it could not be read".to_owned()))),
            State::Reading if buffer.is_empty() => return Ok(0),
            State::Reading => {}
        }
        match self.decoder.read(buffer) {
            Ok(0) => {
                self.end().map_err(|error| self.told(error))?;
                self.state = State::AtItsEnd;
                Ok(0)
            }
            Ok(read) => Ok(read),
            Err(error) => Err(self.told(error)),
        }
    }
}
