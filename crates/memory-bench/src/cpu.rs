//! Processor time, as Linux tells it; 0 where it is not told.

use std::fs;

/// Seconds of processor time that this process has used.
pub fn client() -> f64 {
    Process::read("self").map_or(0.0, |process| process.seconds)
}

/// Seconds of processor time that a process has used.
pub fn of(pid: u32) -> f64 {
    Process::read(&pid.to_string()).map_or(0.0, |process| process.seconds)
}

/// Seconds of processor time that a Postgres has used: its postmaster and the processes that it has started.
pub fn of_postgres(postmaster: u32) -> f64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0.0 };
    let processes = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let pid = name.to_str()?.parse::<u32>().ok()?;
        Some((pid, Process::read(&pid.to_string())?))
    });
    let of_it = processes.filter(|(pid, process)| *pid == postmaster || process.parent == postmaster);
    of_it.map(|(_, process)| process.seconds + process.of_ended_children).sum()
}

/// The process that started another.
pub fn parent(pid: u32) -> Option<u32> {
    Process::read(&pid.to_string()).map(|process| process.parent)
}

struct Process {
    parent: u32,
    seconds: f64,
    of_ended_children: f64,
}

impl Process {
    fn read(pid: &str) -> Option<Self> {
        const TICKS_A_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold spaces: the parent is the second, ticks are the 12th to the 15th.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |at: usize| fields.get(at)?.parse::<f64>().ok().map(|ticks| ticks / TICKS_A_SECOND);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            seconds: seconds(11)? + seconds(12)?,
            of_ended_children: seconds(13)? + seconds(14)?,
        })
    }
}
