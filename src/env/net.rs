//! Network: listening sockets and streams that can send from a file, real and simulated.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::disk::DiskFile;
use super::socket;

/// Connections that wait to be accepted, as Kafka's `socket.listen.backlog.size`.
pub const DEFAULT_BACKLOG: u32 = 50;
/// Bytes copied at a time where `sendfile` cannot be used.
const COPY_BUFFER_SIZE: usize = 64 * 1024;
/// Bytes a simulated connection holds in each direction.
const SIMULATED_PIPE_SIZE: usize = 64 * 1024;
/// Simulated connections that wait to be accepted.
const SIMULATED_BACKLOG: usize = 50;

/// A socket that accepts connections.
pub enum Listener {
    /// The operating system's.
    Tcp(TcpListener),
    /// A test's.
    Simulated(SimulatedListener),
}

/// The broker's end of a test's connections.
pub struct SimulatedListener {
    address: SocketAddr,
    incoming: mpsc::Receiver<(DuplexStream, SocketAddr)>,
}

/// The clients' way to a `SimulatedListener`. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedConnector {
    outgoing: mpsc::Sender<(DuplexStream, SocketAddr)>,
}

impl SimulatedConnector {
    /// Connects as `peer`; `ConnectionRefused` when nobody listens.
    pub async fn connect(&self, peer: SocketAddr) -> io::Result<DuplexStream> {
        let (client, broker) = tokio::io::duplex(SIMULATED_PIPE_SIZE);
        match self.outgoing.send((broker, peer)).await {
            Ok(()) => Ok(client),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

impl Listener {
    /// Listens on a TCP address; port 0 picks a free one.
    pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let bound = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        if address.is_ipv6() {
            // One wildcard socket serves both families, as Java's server sockets do.
            bound.set_only_v6(false)?;
        }
        bound.set_reuse_address(true)?;
        bound.set_nonblocking(true)?;
        bound.bind(&address.into())?;
        bound.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(Self::Tcp(TcpListener::from_std(bound.into())?))
    }

    /// A listener that only the connector returned with it can reach.
    pub fn simulated(address: SocketAddr) -> (Self, SimulatedConnector) {
        let (outgoing, incoming) = mpsc::channel(SIMULATED_BACKLOG);
        (Self::Simulated(SimulatedListener { address, incoming }), SimulatedConnector { outgoing })
    }

    /// The next connection and the peer's address.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Simulated(listener) => match listener.incoming.recv().await {
                Some((stream, peer)) => Ok((Stream::Simulated { stream, local: listener.address }, peer)),
                None => Err(io::ErrorKind::NotConnected.into()),
            },
        }
    }

    /// The address listened on, with the real port.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Simulated(listener) => Ok(listener.address),
        }
    }
}

/// One connection.
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Within a test.
    Simulated {
        /// The broker's end of the pipe.
        stream: DuplexStream,
        /// The listener's address.
        local: SocketAddr,
    },
}

impl Stream {
    /// The address by which the peer reached this end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Simulated { local, .. } => Ok(*local),
        }
    }

    /// Sets the kernel's buffer sizes in bytes; `None` leaves them to its tuning.
    pub fn set_buffer_sizes(&self, send: Option<usize>, receive: Option<usize>) -> io::Result<()> {
        let Self::Tcp(stream) = self else { return Ok(()) };
        let socket = socket2::SockRef::from(stream);
        send.map_or(Ok(()), |size| socket.set_send_buffer_size(size))?;
        receive.map_or(Ok(()), |size| socket.set_recv_buffer_size(size))
    }

    /// Has the connection become readable only once this many bytes are there, or no more fit; 1 is the beginning.
    pub fn set_receive_low_water(&self, bytes: usize) {
        let Self::Tcp(stream) = self else { return };
        // Not more than advice: where it is not taken, there are more reads.
        let _ = socket::set_receive_low_water(stream, bytes);
    }

    /// Sends up to `length` bytes of a file from `offset`, without copying them through this process where the system
    /// can. Returns how many were sent; 0 means the file ends at `offset`.
    pub async fn send_file(&mut self, file: &dyn DiskFile, offset: u64, length: usize) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let (Self::Tcp(stream), Some(descriptor)) = (&mut *self, file.descriptor()) {
            let send = || {
                let mut position = offset;
                Ok(rustix::fs::sendfile(&*stream, descriptor, Some(&mut position), length)?)
            };
            loop {
                stream.writable().await?;
                match stream.try_io(tokio::io::Interest::WRITABLE, send) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        }
        let mut buffer = vec![0; length.min(COPY_BUFFER_SIZE)];
        let count = file.read_at(&mut buffer, offset)?;
        tokio::io::AsyncWriteExt::write_all(self, &buffer[..count]).await?;
        Ok(count)
    }
}

macro_rules! delegate {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Simulated { stream, .. } => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::env::{Disk, ManualClock, MemoryDisk, OpenMode, RealDisk};

    const CONTENTS: &[u8] = b"from the page cache to the socket";

    async fn check_send_file(
        disk: &dyn Disk,
        directory: &Path,
        mut stream: Stream,
        mut peer: impl AsyncReadExt + Unpin,
    ) {
        let file = disk.open(&directory.join("file"), OpenMode::CreateReadWrite).unwrap();
        file.write_all_at(CONTENTS, 0).unwrap();
        stream.write_all(b"head ").await.unwrap();
        assert_eq!(stream.send_file(&*file, 5, 14).await.unwrap(), 14);
        assert_eq!(stream.send_file(&*file, CONTENTS.len() as u64, 1).await.unwrap(), 0);
        drop(stream);
        let mut received = String::new();
        peer.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "head the page cache");
    }

    #[tokio::test]
    async fn tcp_sends_from_a_file() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), DEFAULT_BACKLOG).unwrap();
        let client = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(stream.local_address().unwrap(), listener.local_address().unwrap());
        let directory = tempfile::tempdir().unwrap();
        check_send_file(&RealDisk, directory.path(), stream, client).await;
    }

    #[tokio::test]
    async fn a_simulated_stream_sends_from_a_simulated_file() {
        let (mut listener, connector) = Listener::simulated("10.0.0.1:9092".parse().unwrap());
        let client = connector.connect("10.0.0.2:1".parse().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!((peer.port(), stream.local_address().unwrap().port()), (1, 9092));
        let disk = MemoryDisk::new(Arc::new(ManualClock::new(0)));
        disk.create_dir_all(Path::new("/data")).unwrap();
        check_send_file(&disk, Path::new("/data"), stream, client).await;
    }
}
