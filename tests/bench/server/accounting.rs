//! What a process has cost, by the kernel's books.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

/// The time that each thread of a process has run.
#[derive(Debug)]
pub(crate) struct Cpu(BTreeMap<u32, u64>);

impl Cpu {
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = thread?.path();
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            let id = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            let nanos = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
            threads.extend(id.zip(nanos));
        }
        Ok(Self(threads))
    }

    /// What was used since `earlier`, without threads that have ended.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let before = |thread| earlier.0.get(thread).copied().unwrap_or(0);
        Duration::from_nanos(self.0.iter().map(|(thread, nanos)| nanos.saturating_sub(before(thread))).sum())
    }
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other("no VmRSS"))
}
