//! Bytes in pieces: the first byte says how long they are. Whatever comes out must be a frame that can be sent again.

#![no_main]

use etcd_wire::{CHUNK, Decoder, Frame, Incoming};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&size, bytes)) = data.split_first() else { return };
    let (mut decoder, mut incoming) = (Decoder::new(), Incoming::new(u64::MAX));
    // Half of the inputs begin behind the preface, which is hard to guess.
    let mut begun = size & 1 == 1;
    for piece in bytes.chunks(usize::from(size) + 1) {
        decoder.push(piece);
        if !begun {
            match decoder.preface() {
                Ok(preface) => begun = preface.is_some(),
                Err(_) => return,
            }
        }
        while begun {
            let frame = match decoder.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            if let Frame::Data(chunk) = &frame {
                if let Ok(bytes) = chunk.open() {
                    assert!(bytes.len() == chunk.length as usize && bytes.len() <= CHUNK);
                }
                let _ = incoming.accept(chunk);
            }
            let mut again = Vec::new();
            if frame.encode(&mut again).is_ok() {
                let mut second = Decoder::new();
                second.push(&again);
                assert_eq!(second.frame().expect("what was decoded can be sent"), Some(frame));
            }
        }
    }
});
