//! What sockets can do and no safe function does. The only module of the crate with unsafe code.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime of the calling task say when connections can be accepted. Unlike tokio's own listener it gives sockets
/// that belong to no runtime yet.
pub(super) fn register_listener(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: a `TcpListener` owns its descriptor and is the same one until it is dropped, which the `AsyncFd` that
    // takes it does last; nothing takes the listener out of it.
    let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    Ok(registered?)
}

/// Has a socket become readable only once this many bytes are there, the peer has closed or no more fit
/// (`SO_RCVLOWAT`, socket(7)); 1 is what a socket begins with.
pub(super) fn set_receive_low_water(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads `size_of::<c_int>()` bytes
    // from a pointer to a `c_int` that lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
