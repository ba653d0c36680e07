//! Which cores the servers and the load have.

use std::io;

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use. Children inherit what is set here when they are started.
#[derive(Clone, Debug)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux tells what a process has cost"))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let set = sched_getaffinity(None)?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// From now on on the first `count` cores, where servers are.
    pub(crate) fn servers(&self, count: usize) -> io::Result<()> {
        pin(&self.0[..count.min(self.0.len())])
    }

    /// From now on on the last core, where the load comes from.
    pub(crate) fn load(&self) -> io::Result<()> {
        pin(&self.0[self.0.len() - 1..])
    }

    /// From now on on any core.
    pub(crate) fn any(&self) -> io::Result<()> {
        pin(&self.0)
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_: &[usize]) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}
