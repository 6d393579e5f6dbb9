//! What a hostile peer can make this side allocate.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use etcd_wire::{Decoder, MAX_FRAME};

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

    // The frame, and what it says, taken apart.
    let text = [&br#"{"version":""#[..], &vec![b'x'; MAX_FRAME - 40], br#"","capabilities":[]}"#].concat();
    let frame = [&(text.len() as u32 + 1).to_be_bytes()[..], &[1], &text].concat();
    let most = peak(|| {
        let mut decoder = Decoder::new();
        frame.chunks(64 << 10).for_each(|piece| decoder.push(piece));
        assert!(decoder.frame().unwrap().is_some());
    });
    assert!(most < 6 * MAX_FRAME, "{most}");
}
