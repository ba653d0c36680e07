//! What a process has cost, by the kernel's books.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

/// The nanoseconds that each thread of a process has run, and those that it waited for a core.
#[derive(Debug)]
pub(crate) struct Cpu(BTreeMap<u32, (u64, u64)>);

/// Time of all threads.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

impl Cpu {
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = thread?.path();
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let id = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            let mut numbers = text.split_whitespace().map_while(|number| number.parse::<u64>().ok());
            threads.extend(id.zip(numbers.next().zip(numbers.next())));
        }
        Ok(Self(threads))
    }

    /// What was used since `earlier`, without threads that have ended.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let (mut ran, mut waited) = (0, 0);
        for (thread, now) in &self.0 {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            ran += now.0.saturating_sub(before.0);
            waited += now.1.saturating_sub(before.1);
        }
        Used { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) }
    }
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no VmRSS"))
}
