//! Clients that invent keys, more of them than there is memory for.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;

use super::process::resident;
use super::{Code, Others, RateLimitServiceClient};
use crate::rls::{descriptor, request};
use crate::support::{Spillway, command, directory, metric, serve};

const POLICY: &str = "
domain: d
descriptors:
  - {key: free, rate_limit: {unlimited: true}}
  - {key: client, rate_limit: {algorithm: sliding_window, per: 1h, requests_per_unit: 10}}
";
/// What the counters may take, in KiB.
const MEMORY: u64 = 8 << 10;
/// Descriptors of one request.
const MOST: u32 = 1_024;

impl Others {
    /// Whether a request is within its limits.
    fn pass(&self, descriptors: Vec<RateLimitDescriptor>) -> bool {
        let mut client = RateLimitServiceClient::new(self.channels[0].clone());
        let answer = self.runtime.block_on(client.should_rate_limit(request(descriptors))).unwrap();
        answer.into_inner().overall_code() == Code::Ok
    }
}

#[test]
fn invented_keys_take_the_memory_that_they_may_and_free_no_offender() {
    let config = directory(&[("policy.yaml", POLICY)]);
    let memory = format!("{MEMORY}KiB");
    let mut serve = serve();
    let mut spillway = Spillway::running(serve.arg(config.path()).args(["--max-counter-memory", &memory]));
    let others = Others::of(&spillway);
    others.are_answered(&spillway);
    let offender = || vec![descriptor(&[("client", "offender")])];
    assert_eq!((0..20).filter(|_| others.pass(offender())).count(), 10);

    let before = resident(&spillway);
    for first in (0..200).map(|n| n * MOST) {
        let invented = first..first + MOST;
        others.pass(invented.map(|n| descriptor(&[("client", &format!("{n}"))])).collect());
    }
    let more = resident(&spillway).saturating_sub(before);
    assert!(more < MEMORY * 3 / 2 + (4 << 10), "{more} KiB more for counters of {MEMORY} KiB");
    assert!(metric(spillway.http, "spillway_counters_bytes") <= MEMORY << 10);
    assert!(metric(spillway.http, "spillway_counters_evicted_total") > 0, "there was room for all");
    assert!(!others.pass(offender()), "a flood has let the offender off");
    others.are_answered(&spillway);
    // Also of those since the last report.
    let evicted = metric(spillway.http, "spillway_counters_evicted_total");
    drop(others);
    spillway.signal("TERM");
    assert!(spillway.wait().success());
    let reported = spillway.seen.iter().filter_map(|line| line.split_once(" keys count="));
    assert_eq!(reported.map(|(_, count)| count.parse::<u64>().unwrap()).sum::<u64>(), evicted);
}

#[test]
fn memory_for_counters_is_a_size() {
    for (size, complaint) in [("lots", "expected a size, such as `512MiB`"), ("4KB", "less than 1 MiB")] {
        let output = command(&["serve", "--max-counter-memory", size]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let reported = String::from_utf8(output.stderr).unwrap();
        assert!(reported.contains(complaint), "{reported}");
    }
}
