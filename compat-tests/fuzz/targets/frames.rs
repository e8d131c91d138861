//! How long a frame may be: any four bytes in front of it, any API key, limits of any size. What is let through is never longer than
//! the limit that applies, and never longer than `socket.request.max.bytes`.
#![no_main]

mod memory;

use libfuzzer_sys::fuzz_target;
use ottla::wire::{FrameLimits, peek_api};

fuzz_target!(|data: &[u8]| {
    let [a, b, c, d, e, f, g, h, authenticated, frame @ ..] = data else { return };
    let maximum = u32::from_be_bytes([*e, *f, *g, *h]) as usize;
    let limits = FrameLimits::with_request_max(maximum);
    let authenticated = authenticated & 1 == 1;
    let prefix = [*a, *b, *c, *d];
    if let Ok(length) = limits.length(prefix, authenticated) {
        assert!(length <= maximum && length == u32::from_be_bytes(prefix) as usize);
        let Some(start) = frame.first_chunk::<4>() else { return };
        let (key, _) = peek_api(*start);
        if let Ok(checked) = limits.check(length, key, authenticated) {
            assert!(checked == length && checked <= limits.for_api(key, authenticated) && checked <= maximum);
        } else {
            assert!(length > limits.for_api(key, authenticated));
        }
    } else {
        assert!(i32::from_be_bytes(prefix) < 0 || u32::from_be_bytes(prefix) as usize > limits.for_api(0, authenticated));
    }
});
