//! The one budget of memory (`ottla.memory.bytes`): what arrives, what waits to be sent and what is worked on draws from it.
//!
//! Requests may take all of it, since they wait at their sockets where there is none. Everything else is the consequence of
//! a request that was let in: it is counted when it is there already, and while it takes more than its share no further
//! request is let in. What is not counted is small or has a limit of its own; a share is left for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// Most that a budget is by default.
const DEFAULT_BYTES_MAX: u64 = 512 << 20;
/// The part of the budget for what is not counted: code, metadata, connections, what the allocator keeps.
const PROCESS_SHARE: usize = 8;
/// The part of the budget for caches whose size is fixed at the start: the cleaner's map of keys, fetch sessions.
const CACHE_SHARE: usize = 4;
/// The part of what is counted beyond which no request is let in while it is answers and work that take it.
const WORK_SHARE: usize = 4;

/// Bytes that are in use and how many may be.
pub struct MemoryBudget {
    /// Of what is counted here.
    limit: AtomicUsize,
    cache_limit: AtomicUsize,
    requests: AtomicUsize,
    work: AtomicUsize,
    has_waiters: AtomicBool,
    waiters: Mutex<HashMap<u64, Waker>>,
    next_waiter: AtomicU64,
}

impl MemoryBudget {
    /// A budget that is never used up.
    pub fn unlimited() -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(usize::MAX),
            cache_limit: AtomicUsize::new(usize::MAX),
            requests: AtomicUsize::new(0),
            work: AtomicUsize::new(0),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::default(),
            next_waiter: AtomicU64::new(0),
        })
    }

    /// A budget of `bytes` for the whole process.
    pub fn of(bytes: usize) -> Arc<Self> {
        let budget = Self::unlimited();
        budget.set_process_bytes(bytes);
        budget
    }

    /// Sets what the whole process may take.
    pub fn set_process_bytes(&self, bytes: usize) {
        let caches = bytes / CACHE_SHARE;
        self.cache_limit.store(caches, Ordering::Relaxed);
        self.limit.store(bytes - bytes / PROCESS_SHARE - caches, Ordering::Relaxed);
    }

    /// Bytes that requests and work together may take.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that caches of a fixed size may take together; they are not counted.
    pub fn cache_limit(&self) -> usize {
        self.cache_limit.load(Ordering::Relaxed)
    }

    /// Bytes of requests now.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Bytes of answers and other work now.
    pub fn work(&self) -> usize {
        self.work.load(Ordering::SeqCst)
    }

    /// Whether `more` bytes fit.
    pub fn has_room(&self, more: usize) -> bool {
        self.requests().saturating_add(self.work()).saturating_add(more) <= self.limit()
    }

    /// Whether requests may be let in: answers and work are within their share.
    pub fn admits(&self) -> bool {
        self.work() <= self.limit() / WORK_SHARE
    }

    /// Whether somebody waits for memory.
    pub fn is_wanted(&self) -> bool {
        self.has_waiters.load(Ordering::SeqCst)
    }

    /// Counts a request's bytes; the caller has asked for room.
    pub fn hold_request(self: &Arc<Self>, bytes: usize) -> HeldMemory {
        HeldMemory::new(self, bytes, |budget| &budget.requests)
    }

    /// Counts the bytes of an answer or of work, which are there whether there is room or not.
    pub fn hold_work(self: &Arc<Self>, bytes: usize) -> HeldMemory {
        HeldMemory::new(self, bytes, |budget| &budget.work)
    }

    /// Somebody who may have to wait for memory.
    pub fn waiter(self: &Arc<Self>) -> MemoryWaiter {
        let id = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        MemoryWaiter { budget: Arc::clone(self), id, registered: false }
    }

    fn wake_waiters(&self) {
        if !self.is_wanted() {
            return;
        }
        let woken = {
            let mut waiters = self.waiters.lock();
            self.has_waiters.store(false, Ordering::SeqCst);
            std::mem::take(&mut *waiters)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

/// Bytes that are counted until this is dropped.
pub struct HeldMemory {
    budget: Arc<MemoryBudget>,
    bytes: usize,
    counter: fn(&MemoryBudget) -> &AtomicUsize,
}

impl HeldMemory {
    fn new(budget: &Arc<MemoryBudget>, bytes: usize, counter: fn(&MemoryBudget) -> &AtomicUsize) -> Self {
        counter(budget).fetch_add(bytes, Ordering::SeqCst);
        Self { budget: Arc::clone(budget), bytes, counter }
    }

    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts `bytes` from now on.
    pub fn resize(&mut self, bytes: usize) {
        let counter = (self.counter)(&self.budget);
        if bytes >= self.bytes {
            counter.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            counter.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
            self.budget.wake_waiters();
        }
        self.bytes = bytes;
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.resize(0);
    }
}

/// Somebody's place among those who wait for memory.
pub struct MemoryWaiter {
    budget: Arc<MemoryBudget>,
    id: u64,
    registered: bool,
}

impl MemoryWaiter {
    /// The budget.
    pub fn budget(&self) -> &Arc<MemoryBudget> {
        &self.budget
    }

    /// Wakes the task when memory is given back. What was found wanting before must be looked at again after this call.
    pub fn register(&mut self, context: &Context<'_>) {
        self.registered = true;
        let mut waiters = self.budget.waiters.lock();
        waiters.insert(self.id, context.waker().clone());
        self.budget.has_waiters.store(true, Ordering::SeqCst);
    }
}

impl Drop for MemoryWaiter {
    fn drop(&mut self) {
        if self.registered {
            let mut waiters = self.budget.waiters.lock();
            waiters.remove(&self.id);
            if waiters.is_empty() {
                self.budget.has_waiters.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// The budget where none is configured: half of the memory of the machine or of the control group, at most 512 MiB.
pub fn default_memory_budget() -> u64 {
    machine_memory().map_or(DEFAULT_BYTES_MAX, |memory| (memory / 2).min(DEFAULT_BYTES_MAX))
}

#[cfg(not(target_os = "linux"))]
fn machine_memory() -> Option<u64> {
    None
}

/// Bytes of the machine or of the smallest control group around this process.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn machine_memory() -> Option<u64> {
    let system = rustix::system::sysinfo();
    let machine = system.totalram.checked_mul(system.mem_unit.into())?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|path| std::fs::read_to_string(path).ok());
    limits.filter_map(|text| text.trim().parse().ok()).chain([machine]).min()
}

/// The files that may limit the memory of a process in these control groups (`/proc/self/cgroup`), their parents' included.
/// In a container its own group is often mounted at the root.
#[cfg(target_os = "linux")]
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{path}/{name}"));
            let Some((parent, _)) = path.rsplit_once('/') else { break };
            path = parent;
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let budget = MemoryBudget::of(1920);
        assert_eq!((budget.limit(), budget.cache_limit()), (1200, 480));
        let request = budget.hold_request(1000);
        assert!(budget.has_room(200) && !budget.has_room(201));
        let mut work = budget.hold_work(300);
        assert!(budget.admits() && !budget.has_room(0));
        work.resize(301);
        assert!(!budget.admits());
        work.resize(100);
        assert!(budget.admits() && budget.has_room(100) && !budget.has_room(101));
        drop(request);
        drop(work);
        assert_eq!((budget.requests(), budget.work()), (0, 0));
    }

    #[test]
    fn who_waits_is_woken_by_what_is_given_back() {
        let budget = MemoryBudget::of(1600);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (mut waiter, mut gone) = (budget.waiter(), budget.waiter());
        let mut held = budget.hold_work(1200);
        waiter.register(&Context::from_waker(&waker));
        waiter.register(&Context::from_waker(&waker));
        gone.register(&Context::from_waker(&waker));
        drop(gone);
        held.resize(1300);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        assert!(budget.is_wanted());
        drop(held);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(!budget.is_wanted());
    }

    #[test]
    fn an_unlimited_budget_has_room() {
        let budget = MemoryBudget::unlimited();
        let _held = (budget.hold_request(1 << 40), budget.hold_work(1 << 40));
        assert!(budget.has_room(usize::MAX >> 1) && budget.admits());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn limits_of_every_control_group_around_are_read() {
        let groups = "4:cpu,memory:/a/b\n3:cpu:/c\n0::/d\n";
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/d/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(limit_files(groups), expected);
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert!(limit_files("garbage").is_empty());
        assert!((1 << 20..=DEFAULT_BYTES_MAX).contains(&default_memory_budget()));
    }
}
