//! What the system says of this process.

use std::time::Duration;

/// This process as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessStatistics {
    /// CPU time, in user and in kernel mode.
    pub cpu: Duration,
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Files and sockets that are open.
    pub open_files: u64,
    /// When it began, since 1970.
    pub started: Duration,
    /// Bytes read from and written to disks; `None` where the kernel does not tell.
    pub disk_bytes: Option<(u64, u64)>,
}

/// Reads `/proc`; `None` where there is none.
#[expect(clippy::disallowed_methods, reason = "the system's, and not the broker's data")]
pub fn process_statistics() -> Option<ProcessStatistics> {
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    let mut statistics = parse(&own, &system, ticks, rustix::param::page_size() as u64)?;
    // The directory itself is open while it is read.
    statistics.open_files = (std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1);
    statistics.disk_bytes = std::fs::read_to_string("/proc/self/io").ok().and_then(|io| parse_io(&io));
    Some(statistics)
}

/// proc(5): `/proc/self/io`.
fn parse_io(io: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| io.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((bytes("read_bytes:")?, bytes("write_bytes:")?))
}

/// proc(5): of `/proc/self/stat` the fields behind the name, which may contain anything, and `btime` of `/proc/stat`.
fn parse(own: &str, system: &str, ticks: u64, page_size: u64) -> Option<ProcessStatistics> {
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The state is field 3 of the manual.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let time = |count: u64| Duration::from_millis(count.saturating_mul(1000) / ticks.max(1));
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(ProcessStatistics {
        cpu: time(number(14)? + number(15)?),
        threads: number(20)?,
        started: Duration::from_secs(boot) + time(number(22)?),
        virtual_bytes: number(23)?,
        resident_bytes: number(24)?.saturating_mul(page_size),
        open_files: 0,
        disk_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_of_any_kind() {
        let own = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 1000 4096000 100 1 1";
        let read = parse(own, "cpu 1 2\nbtime 1700000000\n", 100, 4096).expect("parsed");
        let expected = ProcessStatistics {
            cpu: Duration::from_secs(3),
            resident_bytes: 409_600,
            virtual_bytes: 4_096_000,
            threads: 9,
            open_files: 0,
            started: Duration::from_secs(1_700_000_010),
            disk_bytes: None,
        };
        let io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        assert_eq!((parse_io(io), parse_io("read_bytes: 5\n")), (Some((5, 6)), None));
        assert_eq!(read, expected);
        assert_eq!(parse("7 (x) S 1", "btime 1", 100, 1), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_statistics() {
        let now = process_statistics().expect("/proc");
        assert!(
            now.resident_bytes > 0 && now.open_files > 2 && now.threads > 0 && now.started.as_secs() > 1_600_000_000
        );
    }
}
