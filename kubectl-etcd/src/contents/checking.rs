//! Whether values can be read as objects, on threads of their own: to read them takes longer than to find them.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use etcd_objects::{DecodeError, decode, surely_decodes};

/// Bytes of values that are handed on at once.
const BATCH: usize = 1 << 18;
/// Batches that wait for each thread.
const AHEAD: usize = 4;

/// Keys whose values cannot be read, each with the last revision of which that is so.
pub(crate) type Unreadable = HashMap<Vec<u8>, i64>;

/// A value, and where it was found.
struct Stored {
    key: Vec<u8>,
    revision: i64,
    value: Vec<u8>,
}

/// Values on their way to the threads.
#[derive(Default)]
struct Batch {
    values: Vec<Stored>,
    bytes: usize,
}

/// The threads that read values.
pub(crate) struct Checking {
    gathered: Mutex<Batch>,
    batches: SyncSender<Batch>,
    threads: Vec<JoinHandle<Unreadable>>,
}

impl Checking {
    /// Starts as many threads as there are processors.
    pub(crate) fn start() -> Checking {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let (batches, waiting) = sync_channel(AHEAD * count);
        let waiting = Arc::new(Mutex::new(waiting));
        let threads =
            (0..count).map(|_| Arc::clone(&waiting)).map(|waiting| std::thread::spawn(move || check(&waiting)));
        Checking { gathered: Mutex::default(), batches, threads: threads.collect() }
    }

    /// Takes a value.
    pub(crate) fn take(&self, key: &[u8], revision: i64, value: Vec<u8>) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.bytes += value.len();
        gathered.values.push(Stored { key: key.to_vec(), revision, value });
        if gathered.bytes >= BATCH || gathered.values.len() >= BATCH / 64 {
            // Fails only if all threads are gone: the end tells.
            let _gone = self.batches.send(std::mem::take(&mut gathered));
        }
    }

    /// Waits for the last value.
    ///
    /// # Errors
    /// A thread has panicked.
    pub(crate) fn finish(self) -> Result<Unreadable, String> {
        let Checking { gathered, batches, threads } = self;
        let _gone = batches.send(gathered.into_inner().unwrap_or_else(PoisonError::into_inner));
        drop(batches);
        let mut all = Unreadable::new();
        for thread in threads {
            for (key, revision) in thread.join().map_err(|_| "a value could not be checked".to_owned())? {
                let last = all.entry(key).or_insert(revision);
                *last = revision.max(*last);
            }
        }
        Ok(all)
    }
}

fn check(waiting: &Mutex<Receiver<Batch>>) -> Unreadable {
    let mut unreadable = Unreadable::new();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Batch { values, .. }) = next else { return unreadable };
        for Stored { key, revision, value } in values {
            // What is encrypted is not looked into.
            if !surely_decodes(&value)
                && matches!(decode(&value), Err(error) if !matches!(error, DecodeError::Encrypted(_)))
            {
                let last = unreadable.entry(key).or_insert(revision);
                *last = revision.max(*last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_revision_that_cannot_be_read_counts() {
        let checking = Checking::start();
        let sound = br#"{"kind": "Widget", "apiVersion": "example.com/v1"}"#;
        for n in 0..10_000_i64 {
            checking.take(format!("sound-{n}").as_bytes(), n, sound.to_vec());
        }
        checking.take(b"cut", 20_000, sound[..20].to_vec());
        checking.take(b"cut", 20_001, vec![0; BATCH * 2]);
        checking.take(b"mended", 20_002, b"{".to_vec());
        checking.take(b"mended", 20_003, sound.to_vec());
        checking.take(b"encrypted", 20_004, b"k8s:enc:aescbc:v1:key:x".to_vec());
        let found = checking.finish().expect("threads that end");
        assert_eq!(found, [(b"cut".to_vec(), 20_001), (b"mended".to_vec(), 20_002)].into());
    }
}
