//! `--store`: where counters are kept.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use super::{FAILED, WRONG_COMMAND, chain};
use crate::hint::did_you_mean;
use crate::policy::{Keyer, Policy};
use crate::store::{AnyStore, DiskStore, LeasedStore, MemoryStore, RedisOptions, RedisStore, WrongUrl};

/// A store, as it is written on the command line.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Counters {
    /// In the memory of this process.
    Memory,
    /// In a file of this directory.
    Disk(PathBuf),
    /// In a Redis or Valkey server with this URL, which may hold a password.
    Redis(String),
}

/// How the URL of a server may begin.
const SCHEMES: [&str; 8] = [
    "redis",
    "valkey",
    "rediss",
    "valkeys",
    "redis-sentinel",
    "rediss-sentinel",
    "redis-cluster",
    "rediss-cluster",
];

impl Counters {
    /// Whether they are on several servers.
    pub(super) fn are_in_a_cluster(&self) -> bool {
        matches!(self, Self::Redis(url) if url.starts_with("redis-cluster:") || url.starts_with("rediss-cluster:"))
    }

    /// Where counters are kept if nothing is said: in the first of the `directories` that systemd made for the service
    /// (`STATE_DIRECTORY`, with `:` between them), or in memory.
    pub(super) fn in_state_directory(directories: Option<&str>) -> Self {
        let first = directories.and_then(|directories| directories.split(':').next());
        first.filter(|first| !first.is_empty()).map_or(Self::Memory, |first| Self::Disk(first.into()))
    }

    /// Opens the store. Counters in memory are `most` at most, in so many `bytes`; those in a server are shared by `replicas`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub(super) fn open(
        &self,
        most: usize,
        bytes: usize,
        replicas: NonZeroU32,
    ) -> Result<Opened, (String, u8)> {
        match self {
            Self::Memory => {
                let store = MemoryStore::holding(most, bytes).into();
                Ok(Opened { store, keyer: Keyer::random(), place: "memory".to_owned(), server: None })
            }
            Self::Disk(directory) => {
                // Together they take no more. Durable counters that are in the file as they are may leave memory at any time.
                let durable = bytes / 4;
                let memory = MemoryStore::holding(most, bytes - durable);
                let store = DiskStore::holding(directory, memory, most, durable).map_err(|wrong| {
                    let code = if wrong.may_pass() { FAILED } else { WRONG_COMMAND };
                    (format!("--store: {wrong}"), code)
                })?;
                let place = format!("`{}`, as far as they are durable", directory.display());
                Ok(Opened {
                    keyer: Keyer::from_secret(store.secret()),
                    store: store.into(),
                    place,
                    server: None,
                })
            }
            Self::Redis(url) => {
                let wrong = |wrong: WrongUrl| (format!("--store: {}", chain(&wrong)), WRONG_COMMAND);
                let options = RedisOptions::read(url).map_err(wrong)?;
                let lease = options.lease;
                let server = RedisStore::with(options).map_err(wrong)?;
                let (keyer, place) =
                    (Keyer::shared(server.secret()), format!("redis at {}", server.address()));
                let store = if lease {
                    LeasedStore::new(server.clone(), replicas.get().into()).into()
                } else {
                    server.clone().into()
                };
                Ok(Opened { store, keyer, place, server: Some(server) })
            }
        }
    }
}

/// A store that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: AnyStore,
    /// What its counters' keys are made with.
    pub(super) keyer: Keyer,
    /// Where the counters are, for people.
    pub(super) place: String,
    /// The server that they are in, which may be down.
    pub(super) server: Option<RedisStore>,
}

/// How many limits are named.
const NAMED: usize = 3;

/// Which rules and domains may refuse a request needlessly in a cluster, for people; `None` if none does.
pub(super) fn spread(policy: &Policy) -> Option<String> {
    let spread = policy.spread();
    let named = spread.iter().take(NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match spread.len().saturating_sub(NAMED) {
        0 => Some(named).filter(|named| !named.is_empty()),
        others => Some(format!("{named} and {others} more")),
    }
}

/// Whose counts a restart forgets where counters are kept in memory, though they should survive it, for people; `None` if there
/// are no such limits.
pub(super) fn forgotten(policy: &Policy) -> Option<String> {
    let limits = policy.durable_limits();
    let named = limits.iter().take(NAMED).map(|limit| format!("`{limit}`")).collect::<Vec<_>>().join(", ");
    let what = match limits.len() {
        0 => return None,
        1 => format!("{named}, whose window is a day or longer, or which is `durable`"),
        many if many <= NAMED => {
            format!("{many} limits whose window is a day or longer, or that are `durable`: {named}")
        }
        many => {
            let others = many - NAMED;
            format!(
                "{many} limits whose window is a day or longer, or that are `durable`: {named} and {others} more"
            )
        }
    };
    Some(format!("{what}. `--store disk:DIR` keeps them; write `durable: none` where they may be forgotten"))
}

impl FromStr for Counters {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected `memory`, a directory as in `disk:/var/lib/spillway`, or a URL as in `redis://localhost:6379`";
        let (scheme, rest) = match text.split_once(':') {
            None if text == "memory" => return Ok(Self::Memory),
            None => (text, None),
            Some((scheme, rest)) => (scheme, Some(rest)),
        };
        match rest {
            Some("") if scheme == "disk" => {
                Err("the directory is missing, as in `disk:/var/lib/spillway`".to_owned())
            }
            Some(directory) if scheme == "disk" => Ok(Self::Disk(directory.into())),
            Some(server) if SCHEMES.contains(&scheme) => match server.strip_prefix("//") {
                Some(server) if !server.is_empty() => Ok(Self::Redis(text.to_owned())),
                _ => Err(format!("the server is missing, as in `{scheme}://localhost:6379`")),
            },
            _ => {
                // What is written right, and alone, needs more behind it.
                let known = ["memory", "disk"].into_iter().chain(SCHEMES);
                let is_known = known.clone().any(|known| known == scheme);
                Err(match did_you_mean(scheme, known).filter(|_| !is_known) {
                    Some(hint) => format!("{EXPECTED}; {hint}"),
                    None => EXPECTED.to_owned(),
                })
            }
        }
    }
}

/// Without a password.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::Disk(directory) => f.debug_tuple("Disk").field(directory).finish(),
            Self::Redis(_) => f.write_str("Redis(…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, load_text};

    #[test]
    fn stores_are_read_as_they_are_written() {
        let redis = |url: &str| Ok(Counters::Redis(url.to_owned()));
        for (text, read) in [
            ("memory", Ok(Counters::Memory)),
            ("disk:/var/lib/spillway", Ok(Counters::Disk("/var/lib/spillway".into()))),
            ("disk:counters:1", Ok(Counters::Disk("counters:1".into()))),
            ("redis://localhost", redis("redis://localhost")),
            ("rediss://u:p@host:6380/1?prefix=a:", redis("rediss://u:p@host:6380/1?prefix=a:")),
            ("redis-cluster://a:1,b:2", redis("redis-cluster://a:1,b:2")),
            ("redis-sentinel://a:1", redis("redis-sentinel://a:1")),
            ("disk:", Err("the directory is missing")),
            ("redis:", Err("the server is missing, as in `redis://localhost:6379`")),
            ("redis:/localhost", Err("the server is missing")),
            ("rediss://", Err("the server is missing, as in `rediss://localhost:6379`")),
            ("", Err("expected `memory`")),
            ("disk", Err("expected `memory`, a directory as in `disk:/var/lib/spillway`")),
            ("memroy", Err("did you mean `memory`?")),
            ("dsik:/var", Err("did you mean `disk`?")),
            ("reddis://localhost", Err("did you mean `redis`?")),
        ] {
            match (text.parse::<Counters>(), read) {
                (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
                (found, wanted) => assert_eq!(found, wanted.map_err(str::to_owned), "{text}"),
            }
        }
    }

    #[test]
    fn the_first_limits_that_a_restart_forgets_are_named() {
        let told = |limits: &[&str]| {
            let limits = limits.iter().map(|limit| format!("{{requests_per_unit: 5, {limit}}}"));
            let limits = limits.collect::<Vec<_>>().join(", ");
            let yaml = format!("{{domain: d, descriptors: [{{key: x, rate_limits: [{limits}]}}]}}");
            forgotten(&load_text("a.yaml", &yaml, Options::default()).unwrap().policy)
        };
        let end = "`--store disk:DIR` keeps them; write `durable: none` where they may be forgotten";
        let several = "limits whose window is a day or longer, or that are `durable`: `d: a`, `d: b`";
        let (day, days, month) = ("name: a, unit: day", "name: b, per: 30d", "name: c, per: calendar_month");
        let (exact, none) = ("name: e, unit: minute, durable: exact", "name: f, unit: week, durable: none");
        for (limits, expected) in [
            (&["unit: hour", none][..], None),
            (
                &[day, none],
                Some(format!("`d: a`, whose window is a day or longer, or which is `durable`. {end}")),
            ),
            (&[days, day], Some(format!("2 {several}. {end}"))),
            (&[days, day, exact, month], Some(format!("4 {several}, `d: c` and 1 more. {end}"))),
        ] {
            assert_eq!(told(limits), expected, "{limits:?}");
        }
    }

    #[test]
    fn without_a_word_counters_are_where_systemd_says() {
        for (directories, expected) in [
            (None, Counters::Memory),
            (Some(""), Counters::Memory),
            (Some("/var/lib/spillway"), Counters::Disk("/var/lib/spillway".into())),
            (Some("/var/lib/a:/var/lib/b"), Counters::Disk("/var/lib/a".into())),
        ] {
            assert_eq!(Counters::in_state_directory(directories), expected);
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let store: Counters = "redis://user:hidden@host".parse().unwrap();
        let opened = store.open(1_000, 1 << 20, NonZeroU32::MIN).unwrap();
        assert!(!format!("{store:?}{opened:?}").contains("hidden"));
    }
}
