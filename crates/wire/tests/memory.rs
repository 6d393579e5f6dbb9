//! What a hostile peer can make this side allocate.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use etcd_wire::{CHUNK, Chunk, Decoder, Encoding, MAX_FRAME, WireError};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "counting allocations takes an allocator, and that trait is unsafe")]
mod counting {
    use super::{NOW, PEAK, Relaxed};
    use std::alloc::{GlobalAlloc, Layout, System};

    struct Counting;

    // SAFETY: everything is passed on to the system's allocator as it is.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
            // SAFETY: the caller keeps the contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            NOW.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the caller keeps the contract.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;
}

/// Most bytes that were allocated at once while `work` ran. One test only: others would count too.
fn peak(work: impl FnOnce()) -> usize {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

#[test]
fn a_header_reserves_what_it_may_and_no_more() {
    let announce = |length: u32| {
        peak(|| {
            let mut decoder = Decoder::new();
            decoder.push(&length.to_be_bytes());
            let _ = decoder.frame();
        })
    };
    assert!(announce(u32::MAX) < 1024);
    assert!(announce(MAX_FRAME as u32 + 1) < 1024);
    assert!(announce(MAX_FRAME as u32) < MAX_FRAME + 1024);

    // The frame, and what it says, taken apart: large, and small but many.
    let framed = |kind: u8, text: &[u8]| [&(text.len() as u32 + 1).to_be_bytes()[..], &[kind], text].concat();
    let taking = |frame: &[u8]| {
        peak(|| {
            let mut decoder = Decoder::new();
            frame.chunks(64 << 10).for_each(|piece| decoder.push(piece));
            assert!(matches!(decoder.frame(), Err(WireError::Bound { .. })));
        })
    };
    let text = [&br#"{"version":""#[..], &vec![b'x'; MAX_FRAME - 40], br#"","capabilities":[]}"#].concat();
    let most = taking(&framed(1, &text));
    assert!(most < 3 * MAX_FRAME, "{most}");
    let many =
        format!(r#"{{"operation":"status","certificates":[],"etcd":null,"errors":[{}""]}}"#, r#"[],"#.repeat(600_000));
    let most = taking(&framed(3, many.as_bytes()));
    assert!(most < 3 * MAX_FRAME, "{most}");
    let nested = "[".repeat(MAX_FRAME - 1);
    let most = peak(|| {
        let mut decoder = Decoder::new();
        decoder.push(&framed(3, nested.as_bytes()));
        assert!(matches!(decoder.frame(), Err(WireError::Malformed { .. })));
    });
    assert!(most < 5 * MAX_FRAME, "{most}");

    // The largest that is taken.
    let lists = vec![format!("[{}]", vec![r#""""#; 4000].join(",")); 30].join(",");
    let frame = framed(3, format!(r#"{{"operation":"restores","restores":[],"later":[{lists}]}}"#).as_bytes());
    let most = peak(|| {
        let mut decoder = Decoder::new();
        decoder.push(&frame);
        assert!(decoder.frame().unwrap().is_some());
    });
    assert!(most < 8 * MAX_FRAME, "{most}");

    // zstd: a window of 2 GiB, a content of 2^60 bytes, and one that is larger than it says.
    let raw_block = [&[0x19, 0, 0][..], b"abc"].concat();
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8][..], &raw_block].concat();
    let content = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 60).to_le_bytes(), &raw_block].concat();
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("it compresses");
    for (payload, length) in [(window, 3), (content, 3), (bomb, CHUNK as u32)] {
        let most = peak(|| {
            let chunk = Chunk { offset: 0, length, checksum: 0, encoding: Encoding::Zstd, payload: payload.into() };
            assert!(chunk.open().is_err());
        });
        assert!(most < 2 * CHUNK, "{most}");
    }
}
