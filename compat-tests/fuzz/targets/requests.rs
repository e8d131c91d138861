//! A frame: its header, and the body of any API in any version.
#![no_main]

mod memory;

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::wire::RequestHeader;
use ottla::wire::every_request::{AnyRequest, every_request};

static REQUESTS: LazyLock<Vec<AnyRequest>> = LazyLock::new(every_request);

fuzz_target!(|data: &[u8]| {
    let mut frame = Bytes::copy_from_slice(data);
    let Ok(header) = RequestHeader::decode(&mut frame) else { return };
    let Ok(index) = REQUESTS.binary_search_by_key(&header.api_key, |request| request.key) else { return };
    let request = &REQUESTS[index];
    if (request.versions.min..=request.versions.max).contains(&header.api_version) {
        request.check(header.api_version, &frame);
    } else {
        let _ = (request.decode)(frame, header.api_version);
    }
});
