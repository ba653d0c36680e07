//! What the system knows of this process, under the names that Prometheus' own clients use.

/// Numbers of this process; none where the system does not say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// In user and system mode.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) most_descriptors: Option<u64>,
    pub(super) threads: Option<u64>,
    /// Since 1970.
    pub(super) started_seconds: Option<f64>,
}

#[cfg(target_os = "linux")]
impl Process {
    /// As they are now.
    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floating-point anyway")]
    pub(super) fn read() -> Self {
        use procfs::process::{LimitValue, Process};
        use procfs::{WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};

        let Ok(process) = Process::myself() else { return Self::default() };
        let stat = process.stat().ok();
        let ticks = ticks_per_second() as f64;
        let limits = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        let started = stat
            .as_ref()
            .and_then(|stat| Some(boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks));
        Self {
            cpu_seconds: stat.as_ref().map(|stat| (stat.utime + stat.stime) as f64 / ticks),
            resident_bytes: stat.as_ref().map(|stat| stat.rss_bytes().get()),
            virtual_bytes: stat.as_ref().map(|stat| stat.vsize),
            open_descriptors: process.fd_count().ok().map(|count| count as u64),
            most_descriptors: match limits {
                Some(LimitValue::Value(most)) => Some(most),
                _ => None,
            },
            threads: stat.as_ref().and_then(|stat| u64::try_from(stat.num_threads).ok()),
            started_seconds: started,
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Process {
    /// Nothing: this system says it in another way.
    pub(super) fn read() -> Self {
        Self::default()
    }
}
