//! Frames over simulated connections, cut in every way.
#![allow(clippy::disallowed_methods, reason = "the tests' own tasks")]

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::*;
use crate::env::net::Listener;
use crate::env::{ManualClock, MemoryBudget};

const MEBIBYTE: usize = 1024 * 1024;

fn limits() -> FrameLimits {
    FrameLimits { lengths: wire::FrameLimits::default(), base_time: Duration::from_secs(30), minimum_rate: 1024 }
}

/// A client's end and the broker's end of a connection.
async fn connected(over_tcp: bool) -> (Box<dyn AsyncWrite + Send + Unpin>, Transport) {
    let local = "127.0.0.1:0".parse().expect("an address");
    let (client, stream): (Box<dyn AsyncWrite + Send + Unpin>, _) = if over_tcp {
        let mut listener = Listener::bind(local, 5).expect("a port");
        let address = listener.local_address().expect("an address");
        let client = tokio::net::TcpStream::connect(address).await.expect("connected");
        (Box::new(client), listener.accept().await)
    } else {
        let (mut listener, connector) = Listener::simulated(local);
        (Box::new(connector.connect(local).await.expect("connected")), listener.accept().await)
    };
    let (stream, _) = stream.expect("accepted");
    (client, Transport::Plaintext(stream))
}

/// Sends the pieces one by one and returns the frames that arrive, and why they end.
fn frames_of(pieces: Vec<Vec<u8>>) -> (Vec<Bytes>, ReadError, Arc<FrameMemory>) {
    frames_over(false, pieces)
}

fn frames_over(over_tcp: bool, pieces: Vec<Vec<u8>>) -> (Vec<Bytes>, ReadError, Arc<FrameMemory>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut client, mut transport) = connected(over_tcp).await;
        let memory = FrameMemory::new(MemoryBudget::unlimited(), 64 * MEBIBYTE);
        let mut reader = FrameReader::new(limits(), Arc::clone(&memory), Arc::new(ManualClock::new(0)));
        let sender = tokio::spawn(async move {
            for piece in pieces {
                if client.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut frames = Vec::new();
        let end = loop {
            match poll_fn(|context| reader.poll_frame(context, &mut transport)).await {
                Ok(frame) => frames.push(frame),
                Err(error) => break error,
            }
        };
        drop(transport);
        sender.await.expect("sent");
        (frames, end, memory)
    })
}

fn stream_of(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
}

/// Bytes that depend on their place.
fn body(length: usize) -> Vec<u8> {
    // Key 0, Produce: any length.
    (0..length).map(|index| if index < 2 { 0 } else { (index % 251) as u8 }).collect()
}

#[test]
fn a_frame_may_come_byte_by_byte() {
    let frames = [body(0), body(1), body(5), body(300)];
    let pieces = stream_of(&frames).into_iter().map(|byte| vec![byte]).collect();
    let (received, end, _) = frames_of(pieces);
    assert_eq!(received, frames);
    assert!(matches!(end, ReadError::Closed));
}

#[test]
fn the_end_within_a_frame_is_told() {
    for cut in [1, 3, 4, 5, 90_000] {
        let mut bytes = stream_of(&[body(100_000)]);
        bytes.truncate(cut);
        let (received, end, memory) = frames_of(vec![bytes]);
        assert!(received.is_empty() && matches!(end, ReadError::Truncated), "{cut}");
        // The reader is gone, and with it what it held.
        assert_eq!(memory.used(), 0);
    }
}

#[test]
fn a_large_frame_is_charged_while_it_is_held() {
    let (received, _, memory) = frames_of(vec![stream_of(&[body(10 * MEBIBYTE)])]);
    assert_eq!(received[0].len(), 10 * MEBIBYTE);
    assert_eq!(memory.used(), 10 * MEBIBYTE);
    let slice = received[0].slice(5..6);
    drop(received);
    assert_eq!(memory.used(), 10 * MEBIBYTE);
    drop(slice);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_short_frame_that_stands_still_is_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut client, mut transport) = connected(false).await;
        let memory = FrameMemory::new(MemoryBudget::unlimited(), 64 * MEBIBYTE);
        let mut reader = FrameReader::new(limits(), Arc::clone(&memory), Arc::new(ManualClock::new(0)));
        let frame = stream_of(&[body(10_000)]);
        client.write_all(&frame[..9_000]).await.expect("sent");
        poll_fn(|context| {
            assert!(reader.poll_frame(context, &mut transport).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(memory.used(), 10_000);
        client.write_all(&frame[9_000..]).await.expect("sent");
        let received = poll_fn(|context| reader.poll_frame(context, &mut transport)).await.expect("a frame");
        assert_eq!(received, body(10_000));
        drop(received);
        assert_eq!(memory.used(), 0);
    });
}

/// Long frames make the reader take lengths alone and tell the socket how much it waits for; short ones still come at once.
#[test]
fn long_and_short_frames_over_tcp() {
    let frames = [100, 200_000, 200_000, 5, 300_000, 40_000, 0, 3_000_000, 1_000_000, 7].map(body);
    for piece in [1_000, 70_000, 10 * MEBIBYTE] {
        let pieces = stream_of(&frames).chunks(piece).map(<[u8]>::to_vec).collect();
        let (received, end, _) = frames_over(true, pieces);
        assert!(received == frames && matches!(end, ReadError::Closed), "in pieces of {piece}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_arrive_as_they_were_sent(
        lengths in prop::collection::vec(prop_oneof![0..20_usize, 16_000..17_000_usize, 60_000..300_000_usize], 0..8),
        cuts in prop::collection::vec(1..100_000_usize, 1..20),
    ) {
        let frames: Vec<Vec<u8>> = lengths.into_iter().map(body).collect();
        let stream = stream_of(&frames);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = behind;
        }
        let (received, end, _) = frames_of(pieces);
        prop_assert!(received == frames, "the frames differ");
        prop_assert!(matches!(end, ReadError::Closed));
    }
}
