//! The policies that are served, and what each is asked.

use std::fmt::Write as _;

use crate::calls::{Digits, Shape};

const KEY: Digits = Digits { width: 16, divisor: 1 };

/// A client's address, its API key and the endpoint: what rules of three entries are asked.
pub(crate) const LEADS: Shape = Shape {
    domain: "demo",
    entries: [
        ("remote_address", "203.0.113.7"),
        ("api_key", "key_live_################"),
        ("endpoint", "GET /leads"),
    ],
    digits: &[KEY],
};

/// The only rule of one, or one in the midst of many.
pub(crate) const ONE_OF_MANY: Shape = Shape {
    domain: "bench",
    entries: [
        ("tenant", "tenant_50"),
        ("api_key", "key_live_################"),
        ("endpoint", "GET /leads/500"),
    ],
    digits: &[KEY],
};

/// All rules of many, each with one key.
pub(crate) const EACH_OF_MANY: Shape = Shape {
    domain: "bench",
    entries: [("tenant", "tenant_##"), ("api_key", "key_live_0"), ("endpoint", "GET /leads/###")],
    digits: &[Digits { width: 2, divisor: 1000 }, Digits { width: 3, divisor: 1 }],
};

/// Six, which every answer brings.
const HEADERS: &str = "headers:
  emit: always
  X-RateLimit-Limit: limit
  X-RateLimit-Remaining: remaining
  X-RateLimit-Used: used
  X-RateLimit-Reset: reset_unix_s
  RateLimit-Reset: reset_s
  RateLimit-Full: full_s
";

/// 150 bytes once the number, which has four digits as long as a run takes, is in it.
const BODY: &str = r#"{"error":{"type":"rate_limit_error","code":429,"message":"Rate limit exceeded. Please wait, and then retry your request.","retry_after_seconds":{{retry_after_s}}}}"#;

fn leads(limits: &str) -> String {
    format!(
        "domain: demo
{HEADERS}deny: {{content_type: application/json, body: '{BODY}'}}
descriptors:
- key: remote_address
  descriptors:
  - key: api_key
    descriptors:
    - key: endpoint
      value: GET /leads
      {limits}
"
    )
}

/// Three limits of `requests` each.
pub(crate) fn three_limits(requests: u64) -> String {
    leads(&format!(
        "rate_limits:
      - {{name: hour, requests_per_unit: {requests}, per: 1h, count_by: entries}}
      - {{name: long, requests_per_unit: {requests}, per: 90m, count_by: entries}}
      - {{name: bucket, requests_per_unit: {requests}, per: 2h, count_by: entries,
         algorithm: token_bucket, burst: {requests}}}"
    ))
}

/// One limit that is never reached.
pub(crate) fn one_limit(words: &str) -> String {
    leads(&format!("rate_limit: {{requests_per_unit: 1000000000, count_by: entries, {words}}}"))
}

/// So many rules for each of so many tenants.
pub(crate) fn rules(tenants: std::ops::Range<usize>, endpoints: std::ops::Range<usize>) -> String {
    let mut yaml = format!("domain: bench\n{HEADERS}descriptors:\n");
    for tenant in tenants {
        let _ = write!(
            yaml,
            "- key: tenant\n  value: tenant_{tenant:02}\n  descriptors:\n  - key: api_key\n    descriptors:\n"
        );
        for endpoint in endpoints.clone() {
            let _ = write!(
                yaml,
                "    - key: endpoint
      value: GET /leads/{endpoint:03}
      rate_limit: {{requests_per_unit: 1000000000, per: 1h}}
"
            );
        }
    }
    yaml
}
