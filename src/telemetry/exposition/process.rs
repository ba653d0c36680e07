//! The numbers of the process, as other programs report them.

use std::fmt;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::families::Families;
use crate::telemetry::process::Process;

pub(super) fn process(to: &mut Families<'_>) -> fmt::Result {
    let process = Process::read();
    if let Some(seconds) = process.cpu_seconds {
        let help = "CPU time of this process, in user and system mode.";
        let counter =
            to.0.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        ConstCounter::new(seconds).encode(counter)?;
    }
    if let Some(seconds) = process.started_seconds {
        let help = "When this process was started, in seconds since 1970.";
        let gauge =
            to.0.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        ConstGauge::new(seconds).encode(gauge)?;
    }
    for (name, help, number) in [
        ("process_resident_memory_bytes", "Memory of this process that is in RAM.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Address space of this process.", process.virtual_bytes),
        ("process_open_fds", "File descriptors that are open.", process.open_descriptors),
        ("process_max_fds", "The most file descriptors that may be open.", process.most_descriptors),
        ("process_threads", "Threads of this process.", process.threads),
    ] {
        if let Some(number) = number {
            to.gauge(name, help, number)?;
        }
    }
    Ok(())
}
