//! A connection's bytes: plain now; TLS becomes another variant here, and SASL a state of the connection above it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::env::DiskFile;
use crate::env::net::Stream;

/// One connection's transport.
pub enum Transport {
    /// Bytes as they are.
    Plaintext(Stream),
}

impl Transport {
    /// Our end of the connection.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plaintext(stream) => stream.local_address(),
        }
    }

    /// Writes slices in one call; returns the number of bytes taken.
    pub fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plaintext(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    /// Sends a part of a file; returns the number of bytes sent, 0 at the file's end.
    pub async fn send_file(&mut self, file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<usize> {
        match self {
            Self::Plaintext(stream) => stream.send_file(file, offset, length).await,
        }
    }

    /// Wakes the reader only once this many bytes are there, or no more fit; 1 is what a socket begins with.
    pub fn set_receive_low_water(&self, bytes: usize) {
        match self {
            Self::Plaintext(stream) => stream.set_receive_low_water(bytes),
        }
    }

    /// Ends our half of the connection.
    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plaintext(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plaintext(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}
