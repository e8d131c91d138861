//! Every API in every version with honest frames of random content: nothing panics, and what is answered at once is a frame
//! that ends where it says. New rows of the registry are in it by themselves.

use bytes::Bytes;
use futures_util::FutureExt;

use super::handler::{Outcome, Response};
use super::registry::APIS;
use super::test_services::{TestBroker, context};
use crate::wire::every_request::every_request;

/// Bodies for each version.
const SAMPLES: u64 = 40;

fn check(name: &str, version: i16, frame: &Response) {
    let super::Chunk::Bytes(head) = &frame.chunks[0] else { panic!("{name} v{version}: no head") };
    let length = i32::from_be_bytes(head[..4].try_into().expect("four bytes"));
    assert_eq!(usize::try_from(length).expect("a length") + 4, frame.len(), "{name} v{version}");
}

#[test]
fn random_requests_of_every_api_are_answered_or_close_the_connection() {
    let requests = every_request();
    let (mut answered, mut closed) = (0, 0);
    for entry in APIS {
        // A broker for each API: what one left behind is no matter of the next.
        let broker = TestBroker::new();
        broker.create_topic("a", 2, &[]);
        let request = requests.iter().find(|request| request.key == entry.key).expect("the codec has it");
        for version in entry.min_version..=entry.max_version {
            for seed in 1..=SAMPLES {
                let body: Bytes = request.sample(version, seed * 7919);
                let context = context(entry.key, version);
                let mut outcome = entry.call(&broker.services, &context, body);
                while let Outcome::First(future) = outcome {
                    outcome = future.now_or_never().unwrap_or(Outcome::Nothing);
                }
                let frame = match outcome {
                    Outcome::Now(frame) => Some(Ok(frame)),
                    Outcome::Later(future) => future.now_or_never(),
                    Outcome::Nothing | Outcome::First(_) => None,
                    Outcome::Close(reason) => Some(Err(reason)),
                };
                match frame {
                    Some(Ok(frame)) => {
                        check(entry.name, version, &frame);
                        answered += 1;
                    }
                    Some(Err(super::CloseReason::Unencodable { message, .. })) => {
                        panic!("{} v{version}, seed {seed}: {message}", entry.name)
                    }
                    Some(Err(_)) => closed += 1,
                    None => {}
                }
            }
        }
    }
    assert!(answered > 10 * closed, "{answered} answered, {closed} closed");
}
