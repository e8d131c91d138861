//! Frames out of bytes that come in pieces, over a simulated connection: for fuzzing.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use tokio::io::AsyncWriteExt;

use super::FrameLimits;
use super::frame_reader::{FrameReader, ReadError};
use super::memory::FrameMemory;
use super::transport::Transport;
use crate::env::net::Listener;
use crate::env::{ManualClock, MemoryBudget};
use crate::wire;

/// The memory that the frames may take together.
const MEMORY: usize = 64 << 20;

/// The frames that these pieces hold, why they end, and the bytes that are charged for those frames.
///
/// # Errors
/// The simulated connection cannot be made.
pub fn read_frames(pieces: &[&[u8]], lengths: wire::FrameLimits) -> io::Result<(Vec<Bytes>, ReadError, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let local = std::net::SocketAddr::from(([10, 0, 0, 1], 9092));
        let (mut listener, connector) = Listener::simulated(local);
        let (client, accepted) = join(connector.connect(local), listener.accept()).await;
        let mut client = client?;
        let (stream, _) = accepted?;
        let mut transport = Transport::Plaintext(stream);
        let memory = FrameMemory::new(MemoryBudget::unlimited(), MEMORY);
        let limits = FrameLimits { lengths, base_time: Duration::from_secs(30), minimum_rate: 1024 };
        let mut reader = FrameReader::new(limits, Arc::clone(&memory), Arc::new(ManualClock::new(0)));
        let send = async move {
            for piece in pieces {
                if client.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let read = async move {
            let mut frames = Vec::new();
            let end = loop {
                match poll_fn(|context| reader.poll_frame(context, &mut transport)).await {
                    Ok(frame) => frames.push(frame),
                    Err(error) => break error,
                }
            };
            (frames, end)
        };
        let ((), (frames, end)) = join(send, read).await;
        Ok((frames, end, memory.used()))
    })
}
