//! What is asked: messages that differ in the digits of a key.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use prost::Message;

/// Which numbers the keys of a load have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// Each of so many, from the first on.
    InTurn { first: u64 },
    /// Any of so many, each as likely as the others.
    Uniform { first: u64, count: u64 },
}

/// Where a number goes in a value: a run of so many `#`, which shows `number / divisor` as decimal digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    pub(crate) width: usize,
    pub(crate) divisor: u64,
}

/// The entries of the one descriptor, with `#` where digits go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) domain: &'static str,
    pub(crate) entries: [(&'static str, &'static str); 3],
    /// For each run of `#`, in order.
    pub(crate) digits: &'static [Digits],
}

impl Shape {
    /// The message with key number `key`.
    pub(crate) fn request(&self, key: u64) -> RateLimitRequest {
        let mut numbers = self.digits.iter().map(|digits| {
            let modulus = 10_u64.pow(u32::try_from(digits.width).expect("few digits"));
            format!("{:0width$}", key / digits.divisor % modulus, width = digits.width)
        });
        let entries = self.entries.map(|(name, value)| {
            let value = match value.split_once('#') {
                Some((start, _)) => format!("{start}{}", numbers.next().expect("digits for each run")),
                None => value.to_owned(),
            };
            Entry { key: name.into(), value }
        });
        let descriptor = RateLimitDescriptor { entries: entries.into(), ..Default::default() };
        RateLimitRequest { domain: self.domain.into(), descriptors: vec![descriptor], hits_addend: 1 }
    }
}

/// Messages one after the other, as they go into a DATA frame.
#[derive(Debug)]
pub(crate) struct Calls {
    bytes: Vec<u8>,
    /// Where each number starts.
    places: Vec<(usize, Digits)>,
    keys: Keys,
    random: u64,
}

impl Calls {
    pub(crate) fn new(shape: &Shape, keys: Keys) -> Self {
        let message = shape.request(0).encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.len()).expect("a small message").to_be_bytes());
        bytes.extend(message);
        let mut places = Vec::new();
        let runs = shape.entries.iter().filter_map(|(_, value)| value.split_once('#'));
        for ((start, _), digits) in runs.zip(shape.digits) {
            let found = bytes.windows(start.len()).position(|window| window == start.as_bytes());
            places.push((found.expect("the value is in the message") + start.len(), *digits));
        }
        Self { bytes, places, keys, random: 0x5EED }
    }

    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> &[u8] {
        let key = match &mut self.keys {
            Keys::InTurn { first } => {
                *first += 1;
                *first - 1
            }
            Keys::Uniform { first, count } => *first + splitmix(&mut self.random) % *count,
        };
        for (at, digits) in &self.places {
            let mut left = key / digits.divisor;
            for place in self.bytes[*at..][..digits.width].iter_mut().rev() {
                *place = b'0' + u8::try_from(left % 10).expect("a digit");
                left /= 10;
            }
        }
        &self.bytes
    }
}

/// The next number of a sequence that is the same in every run (`SplitMix64`).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
