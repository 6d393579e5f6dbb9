//! SHA-256 of a file, in order, beside the walk.

use ring::digest::{Context, SHA256};

use crate::meta::DIGEST_BYTES;
use crate::pulse::Pulse;
use crate::{Source, VerifyError};

/// A SHA-256.
pub(crate) type Digest = [u8; 32];

/// Bytes per read: few enough to be hashed while they are in the cache of the processor.
const CHUNK: usize = 128 << 10;

/// The digests of a file, as far as they are known.
#[derive(Default)]
pub(crate) struct Digests {
    /// Of the data.
    pub(crate) data: Option<Digest>,
    /// Of all bytes.
    pub(crate) file: Option<Digest>,
}

/// Hashes the first `data` bytes, then on to the end.
pub(crate) fn hash(source: &dyn Source, data: u64, pulse: &Pulse<'_>) -> Result<Digests, VerifyError> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; CHUNK];
    feed(&mut context, source, 0, data, &mut buffer, pulse)?;
    let of_data = finish(context.clone());
    feed(&mut context, source, data, source.len(), &mut buffer, pulse)?;
    Ok(Digests { data: Some(of_data), file: Some(finish(context)) })
}

/// The digest that the file has behind its data, if there are enough bytes for one.
pub(crate) fn stored(source: &dyn Source, data: u64) -> Result<Option<Digest>, VerifyError> {
    let mut digest = [0; DIGEST_BYTES as usize];
    if source.len().saturating_sub(data) < DIGEST_BYTES {
        return Ok(None);
    }
    source.read_at(data, &mut digest)?;
    Ok(Some(digest))
}

/// SHA-256 of a few bytes whose parts come one by one.
pub(crate) fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn feed(
    context: &mut Context,
    source: &dyn Source,
    from: u64,
    to: u64,
    buffer: &mut [u8],
    pulse: &Pulse<'_>,
) -> Result<(), VerifyError> {
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
        let chunk = &mut buffer[..length];
        source.read_at(offset, chunk)?;
        context.update(chunk);
        offset += length as u64;
        pulse.add_hashed(length as u64)?;
    }
    Ok(())
}
