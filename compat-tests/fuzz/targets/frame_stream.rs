//! A stream of frames, cut anywhere: what the reader of a connection gives is what the stream holds, up to the first length that is
//! refused; and what is charged is given back.
#![no_main]

mod memory;

use libfuzzer_sys::fuzz_target;
use ottla::server::read_frames;
use ottla::wire::{FrameLimits, peek_api};

/// The longest frame of any API: the input is shorter anyway.
const LONGEST: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [first, second, stream @ ..] = data else { return };
    let limits = FrameLimits::with_request_max(LONGEST);
    let mut pieces = Vec::new();
    let mut rest = stream;
    for size in [usize::from(*first) + 1, usize::from(*second) * 64 + 1].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    let Ok((frames, _end, charged)) = read_frames(&pieces, limits) else { return };
    let mut rest = stream;
    for frame in &frames {
        let (length, behind) = rest.split_first_chunk::<4>().expect("a length");
        let length = limits.length(*length, true).expect("a length that is let through");
        assert_eq!(frame, &behind[..length]);
        if let Some(start) = frame.first_chunk::<4>() {
            assert!(limits.check(length, peek_api(*start).0, true).is_ok());
        }
        rest = &behind[length..];
    }
    // What is left is no whole frame, or one that is refused.
    if let Some((length, behind)) = rest.split_first_chunk::<4>()
        && let Ok(length) = limits.length(*length, true)
        && let Some(frame) = behind.get(..length)
    {
        let start = frame.first_chunk::<4>().expect("a short frame is always let through");
        assert!(limits.check(length, peek_api(*start).0, true).is_err(), "a whole frame was not given");
    }
    let held: usize = frames.iter().map(|frame| frame.len()).sum();
    assert!(charged <= held, "{charged} bytes are charged for {held}");
});
