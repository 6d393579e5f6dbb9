//! Files of this node as a tar archive, for a backup that can bring up a new control plane. The client encrypts it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use etcd_store::node_files::{Limits, NodeFilesWriter};
use etcd_wire::message::{LeftOut, MAX_NODE_FILES, NodeFilesDone, NodeFilesRequest};
use etcd_wire::{CHUNK, Digest, End, Failure, FailureCode, Frame, Outgoing, Sha256};
use tokio::sync::mpsc;

use crate::node::etcds;
use crate::node::files::{GatherError, gather};
use crate::serve::{Client, Stop};
use crate::streaming::stream;

/// As much of what is left out is told one by one.
const TOLD: usize = 50;

pub(crate) async fn run(request: NodeFilesRequest, client: &mut Client) -> Result<NodeFilesDone, Stop> {
    stream(client, move |queue, cancel| read(request, queue, cancel)).await
}

fn read(
    request: NodeFilesRequest,
    queue: mpsc::Sender<Frame>,
    cancel: Arc<AtomicBool>,
) -> Result<(End, NodeFilesDone), Failure> {
    let mut paths: Vec<PathBuf> = request.paths.iter().map(PathBuf::from).collect();
    let mut missing = Vec::new();
    if request.etcd_unit {
        let kubernetes = Path::new(etcds::MANIFESTS).parent();
        let is_absent =
            |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        paths.retain(|path| Some(path.as_path()) != kubernetes || !is_absent(path));
        let unit = etcds::files_of_unit(Path::new("/"))?;
        paths.extend(unit.files);
        missing = unit.missing;
    }
    let outgoing = Outgoing::new(request.compression);
    let stream = Stream { outgoing, digest: Digest::new(), gathered: Vec::new(), queue, cancel };
    let mut writer = NodeFilesWriter::new(stream, Limits::default());
    let gathered = gather(&paths, Limits::default(), |file| writer.append(file)).map_err(|error| failed(&error))?;
    let ended = writer.finish().and_then(|stream| Ok(stream.finish()?));
    let end = ended.map_err(|error| failed(&error.into()))?;
    let missing = missing.iter().map(|path| (path.display().to_string(), etcds::NAMED.to_owned()));
    let all: Vec<(String, String)> = missing.chain(gathered.left_out).collect();
    let told = all.iter().take(TOLD).map(|(path, why)| LeftOut { path: path.clone(), why: why.clone() });
    let (left_out, left_out_count) = (told.collect(), all.len() as u64);
    Ok((end, NodeFilesDone { files: gathered.files, left_out, left_out_count }))
}

fn failed(error: &GatherError) -> Failure {
    let code = match error {
        GatherError::Relative(_) => FailureCode::BadRequest,
        GatherError::Archive(_) | GatherError::Empty(_) | GatherError::Changing(_) => FailureCode::Refused,
        GatherError::Missing(_) | GatherError::Io(_) => FailureCode::Storage,
    };
    Failure::new(code, "cannot read the files of the node").source(error)
}

/// What was gathered of the archive, and the way to the client.
struct Stream {
    outgoing: Outgoing,
    digest: Digest,
    gathered: Vec<u8>,
    queue: mpsc::Sender<Frame>,
    cancel: Arc<AtomicBool>,
}

impl Stream {
    fn send(&mut self) -> io::Result<()> {
        self.digest.update(&self.gathered);
        let frame = Frame::Data(self.outgoing.chunk(Bytes::from(std::mem::take(&mut self.gathered))));
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.queue.blocking_send(frame).map_err(|_| gone())
    }

    fn finish(mut self) -> io::Result<End> {
        if !self.gathered.is_empty() {
            self.send()?;
        }
        Ok(End { length: self.outgoing.offset(), sha256: Sha256(self.digest.finish()) })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("the client has given up"));
        }
        let taken = bytes.len().min(CHUNK - self.gathered.len());
        if self.outgoing.offset() + (self.gathered.len() + taken) as u64 > MAX_NODE_FILES {
            return Err(io::Error::other(format!("the archive would have more than {MAX_NODE_FILES} bytes")));
        }
        self.gathered.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.gathered.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
