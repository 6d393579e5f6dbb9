//! Real snapshots cut, lengthened and flipped at every place, and changed at random.

mod support;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_snapshot::{DigestState, Options, Source, VerifyError, verify};
use proptest::prelude::*;
use support::builder::{PAGE, sample, seal};
use support::{check, unpack};

/// The smallest real snapshot: 20 kB, five pages.
fn small() -> Vec<u8> {
    unpack("etcd/etcd-3.4.23-auth.db.zst")
}

#[test]
fn any_flipped_bit_is_damage() {
    let mut file = small();
    assert!(check(&file).is_ok());
    for at in 0..file.len() {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            assert!(matches!(check(&file), Err(VerifyError::Damaged(_))), "bit {bit} of byte {at}");
            file[at] ^= 1 << bit;
        }
    }
    assert!(check(&file).is_ok());
}

#[test]
fn a_flipped_bit_in_every_page_of_a_larger_one() {
    let mut file = unpack("snapshots/3.5.30.db.zst");
    for at in (0..file.len()).step_by(4099) {
        let bit = 1 << (at % 8);
        file[at] ^= bit;
        assert!(matches!(check(&file), Err(VerifyError::Damaged(_))), "byte {at}");
        file[at] ^= bit;
    }
}

#[test]
fn a_flipped_bit_without_a_digest_does_no_harm() {
    let file = small();
    let mut copy = [&file[..file.len() - 32], &[0; 4096]].concat();
    assert!(check(&copy).is_ok());
    let mut noticed = 0;
    for at in 0..copy.len() {
        copy[at] ^= 1 << (at % 8);
        noticed += usize::from(check(&copy).is_err());
        copy[at] ^= 1 << (at % 8);
    }
    assert!(noticed > 500, "{noticed}");
}

#[test]
fn cut_anywhere() {
    let whole = small();
    for length in 0..whole.len() {
        let cut = check(&whole[..length]);
        match length {
            0..80 => assert!(matches!(cut, Err(VerifyError::NotASnapshot(_))), "{length}: {cut:?}"),
            // Its transaction is an even one: a stopped member's database can be these very bytes.
            _ if length == whole.len() - 32 => assert_eq!(cut.expect("a copy").digest, DigestState::Absent),
            _ => assert!(matches!(cut, Err(VerifyError::Truncated { .. })), "{length}: {cut:?}"),
        }
    }
    // An odd one.
    let whole = unpack("snapshots/3.5.1.db.zst");
    let boundaries = (0..=whole.len()).step_by(4096).skip(1);
    for length in boundaries.flat_map(|at| [at - 2048, at - 1, at, at + 1]).filter(|&length| length < whole.len()) {
        let cut = check(&whole[..length]);
        assert!(matches!(cut, Err(VerifyError::Truncated { .. })), "{length}: {cut:?}");
    }
}

#[test]
fn with_more_behind() {
    let whole = small();
    for more in (1..=1024).chain([4064, 4096, 8160, 1 << 20]) {
        let long = check(&[&whole[..], &vec![0xa5; more]].concat());
        assert!(matches!(long, Err(VerifyError::TrailingBytes { .. })), "{more}: {long:?}");
    }
    assert!(matches!(check(&[&whole[..], &whole[..]].concat()), Err(VerifyError::TrailingBytes { .. })));
}

/// Remembers the largest read, and fails or cancels at one of them.
struct Watched<'a> {
    bytes: &'a [u8],
    fail_at: Option<u64>,
    cancel: Option<&'a AtomicBool>,
}

impl Source for Watched<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(buffer.len() <= 1 << 20, "a read of {} bytes", buffer.len());
        if let Some(cancel) = self.cancel.filter(|_| offset > 0) {
            cancel.store(true, Ordering::Relaxed);
        }
        if self.fail_at.is_some_and(|at| (offset..offset + buffer.len() as u64).contains(&at)) {
            return Err(io::Error::other("bad sector"));
        }
        self.bytes.read_at(offset, buffer)
    }
}

#[test]
fn a_read_error_is_no_damage() {
    let bytes = unpack("snapshots/3.6.14.db.zst");
    for at in (0..bytes.len() as u64).step_by(9973) {
        let source = Watched { bytes: &bytes, fail_at: Some(at), cancel: None };
        let failed = verify(&source, &Options::default(), &|_| {});
        assert!(
            matches!(&failed, Err(VerifyError::Io(error)) if error.to_string() == "bad sector"),
            "{at}: {failed:?}"
        );
    }
}

#[test]
fn cancelled_by_its_caller() {
    let bytes = unpack("snapshots/3.6.14.db.zst");
    let cancel = AtomicBool::new(false);
    let source = Watched { bytes: &bytes, fail_at: None, cancel: Some(&cancel) };
    let options = Options { cancel: Some(&cancel), ..Options::default() };
    assert!(matches!(verify(&source, &options, &|_| {}), Err(VerifyError::Cancelled)));
}

#[test]
fn progress_rises_to_its_end() {
    let bytes = unpack("snapshots/kubeadm-ha.db.zst");
    let seen = std::sync::Mutex::new(Vec::new());
    let report = verify(&bytes, &Options::default(), &|progress| {
        seen.lock().expect("no thread panics").push(progress);
    });
    let seen = seen.into_inner().expect("no thread panics");
    let last = seen.last().expect("it ends with one");
    assert_eq!((last.hashed, last.walked, last.total), (last.total, last.total, report.expect("sound").file_size));
    assert!(seen.len() > 3 && seen.iter().all(|progress| progress.hashed.max(progress.walked) <= progress.total));
}

#[test]
fn a_claim_of_gigabytes_reads_none() {
    let sound = sample();
    for page in 2..sound.pages() {
        for at in (0..64).step_by(2) {
            let mut image = sound.clone();
            image.put(page, at, &[0xff; 8]);
            let bytes = image.file();
            let source = Watched { bytes: &bytes, fail_at: None, cancel: None };
            assert!(!matches!(verify(&source, &Options::default(), &|_| {}), Err(VerifyError::Io(_))));
        }
    }
}

/// Random changes of single bytes; offsets lean to the start of pages, where the structure is.
fn changes() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    prop::collection::vec((0..64_usize, prop_oneof![0..96_usize, 0..PAGE], any::<u8>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        prop_assert!(check(&bytes).is_err());
    }

    #[test]
    fn changed_pages_never_panic(changes in changes()) {
        let mut data = sample().data();
        let pages = data.len() / PAGE;
        let touched: BTreeSet<usize> = changes.iter().map(|&(page, at, _)| page % pages * PAGE + at).collect();
        for (page, at, byte) in changes {
            data[page % pages * PAGE + at] = byte;
        }
        // With a digest that is right again, the structure alone decides; without, a change is found.
        let same = data == sample().data();
        let stale = [&data[..], &sample().file()[data.len()..]].concat();
        prop_assert_eq!(check(&stale).is_ok(), same, "{:?}", touched);
        let _ = check(&seal(data));
    }

    #[test]
    fn changed_real_pages_never_panic(changes in prop::collection::vec((0..20480_usize, any::<u8>()), 1..20)) {
        let mut file = small();
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(20480);
        let _ = check(&seal(file));
    }
}
