//! The process as the operating system sees it, under the names that Prometheus' own clients give it.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const CPU_SECONDS: &str = "process_cpu_seconds_total";
const RESIDENT_BYTES: &str = "process_resident_memory_bytes";
const OPEN_FDS: &str = "process_open_fds";
const THREADS: &str = "process_threads";

pub(super) fn describe() {
    describe_counter!(CPU_SECONDS, Unit::Seconds, "Processor time, in whole seconds");
    describe_gauge!(RESIDENT_BYTES, Unit::Bytes, "Memory that is resident");
    describe_gauge!(OPEN_FDS, Unit::Count, "Open file descriptors");
    describe_gauge!(THREADS, Unit::Count, "Threads");
}

/// Reads it anew. What the system does not tell is left out.
pub(super) fn measure() {
    if let Some(status) = std::fs::read_to_string("/proc/self/status").ok().as_deref().map(Status) {
        if let Some(kilobytes) = status.number("VmRSS:") {
            gauge!(RESIDENT_BYTES).set((kilobytes * 1024) as f64);
        }
        if let Some(threads) = status.number("Threads:") {
            gauge!(THREADS).set(threads as f64);
        }
    }
    if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_ticks(&stat)) {
        counter!(CPU_SECONDS).absolute(ticks / TICKS_PER_SECOND);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        gauge!(OPEN_FDS).set(entries.count() as f64);
    }
}

/// `USER_HZ`, which is 100 on every architecture that Linux shows to programs today (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// The text of `/proc/self/status`.
struct Status<'a>(&'a str);

impl Status<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Time in user and kernel mode, the 14th and 15th field of `/proc/self/stat` (proc(5)). The second field may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 250 31 0 0 20 0 8 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("42 (a"), None);
        assert_eq!(Status("VmRSS:\t  2048 kB\nThreads:\t8\n").number("VmRSS:"), Some(2048));
    }
}
