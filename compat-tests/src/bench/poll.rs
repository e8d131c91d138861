//! Which of many connections has something to read.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use anyhow::Result;
use rustix::event::{Timespec, epoll};

use super::connection::Connection;

/// Most that one look returns.
const EVENTS: usize = 256;

/// Connections by number.
pub struct Poll {
    epoll: OwnedFd,
    ready: Vec<usize>,
}

impl Poll {
    /// Of nobody yet.
    pub fn new() -> Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(EVENTS) })
    }

    /// Watches a connection under a number.
    pub fn add(&self, number: usize, connection: &Connection) -> Result<()> {
        let data = epoll::EventData::new_u64(number as u64);
        Ok(epoll::add(&self.epoll, connection, data, epoll::EventFlags::IN)?)
    }

    /// The numbers of those that can be read once without blocking; waits for the first, at most so long.
    pub fn wait(&mut self, at_most: Option<std::time::Duration>) -> Result<impl Iterator<Item = usize> + '_> {
        let timeout =
            at_most.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (events, _) = loop {
            match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                result => break result?,
            }
        };
        self.ready.clear();
        self.ready.extend(events.iter().map(|event| { event.data }.u64() as usize));
        Ok(self.ready.drain(..))
    }
}
