//! A copy of another node's journal, which an operator has brought.

use std::io::Read;
use std::path::Path;

use etcd_wire::restore::NodeRestore;
use etcd_wire::{Failure, FailureCode};

use super::super::journal;
use super::super::layout::Layout;
use super::super::state::{Standing, State};

/// More than any journal has.
const MOST: u64 = 64 << 20;

/// Reads copies of journals. What a copy says is true of the moment when it was made; nothing is taken back in a journal.
///
/// # Errors
/// [`FailureCode::Storage`]: a file cannot be read. [`FailureCode::Refused`]: it is damaged, not whole, of another restore, or of a node of which
/// there is a journal already.
pub(super) fn journals(layout: &Layout, files: &[impl AsRef<Path>]) -> Result<Vec<NodeRestore>, Failure> {
    let mut brought: Vec<NodeRestore> = Vec::new();
    for file in files {
        let file = file.as_ref();
        let bytes =
            read(file).map_err(|error| journal::storage(&format!("read the journal {}", file.display()), &error))?;
        let restore = check(layout, &file.display().to_string(), &bytes)?;
        if brought.iter().any(|known| known.node == restore.node) {
            let message = format!("{} is another journal of node {}", file.display(), restore.node);
            return Err(Failure::new(FailureCode::Refused, message).hint("name one journal for each node"));
        }
        brought.push(restore);
    }
    Ok(brought)
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file)?.take(MOST).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read < MOST => Ok(bytes),
        _ => Err(std::io::Error::other(format!("it has more than {MOST} bytes"))),
    }
}

fn check(layout: &Layout, name: &str, bytes: &[u8]) -> Result<NodeRestore, Failure> {
    let refused = |what: String| Failure::new(FailureCode::Refused, format!("the journal {name} {what}"));
    let (lines, good) = journal::parse(bytes, name)?;
    if lines.is_empty() || good != bytes.len() as u64 {
        return Err(refused("is not whole: its last entry is cut".to_owned()).hint("copy it again"));
    }
    let state = State::of(lines)?;
    if state.plan.id != layout.plan().id {
        let id = &layout.plan().id;
        return Err(refused(format!("is of restore {}, and not of {id}", state.plan.id)));
    }
    if state.plan != *layout.plan() {
        return Err(refused("has another plan than this node's journal".to_owned())
            .cause("the two are not of the same restore, although they have the same ID"));
    }
    if !state.plan.nodes.iter().any(|node| node.node == state.node) {
        return Err(refused(format!("is of node {}, which takes no part", state.node)));
    }
    if state.node == layout.node().node {
        return Err(refused("is this node's own".to_owned()).hint("copy the journals of other nodes"));
    }
    // Its certificate and its participant are not in the journal; nothing is concluded from them.
    Ok(state.told(Standing { has_identity: true, participates: true, ..Standing::default() }))
}
