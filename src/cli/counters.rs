//! `--store`: where counters are kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::chain;
use crate::hint::did_you_mean;
use crate::policy::Keyer;
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
const SCHEMES: [&str; 4] = ["redis", "rediss", "redis-cluster", "redis-sentinel"];

impl Counters {
    /// Opens the store. Counters in memory are `most` at most, in so many `bytes`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub(super) fn open(&self, most: usize, bytes: usize) -> Result<Opened, String> {
        match self {
            Self::Memory => {
                let store = MemoryStore::holding(most, bytes).into();
                Ok(Opened { store, keyer: Keyer::random(), place: "memory".to_owned(), server: None })
            }
            Self::Disk(directory) => {
                let memory = MemoryStore::holding(most, bytes);
                let store = DiskStore::open(directory, memory, most)
                    .map_err(|wrong| format!("--store: {}", chain(&wrong)))?;
                let place = format!("`{}`, as far as they are durable", directory.display());
                Ok(Opened {
                    keyer: Keyer::from_secret(store.secret()),
                    store: store.into(),
                    place,
                    server: None,
                })
            }
            Self::Redis(url) => {
                let wrong = |wrong: WrongUrl| format!("--store: {}", chain(&wrong));
                let options = RedisOptions::read(url).map_err(wrong)?;
                let lease = options.lease;
                let server = RedisStore::with(options).map_err(wrong)?;
                let (keyer, place) =
                    (Keyer::shared(server.secret()), format!("redis at {}", server.address()));
                let store = match lease {
                    Some(replicas) => LeasedStore::new(server.clone(), replicas).into(),
                    None => server.clone().into(),
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
                let known = ["memory", "disk"].into_iter().chain(SCHEMES);
                Err(match did_you_mean(scheme, known) {
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
    fn a_password_is_not_shown() {
        let store: Counters = "redis://user:hidden@host".parse().unwrap();
        let opened = store.open(1_000, 1 << 20).unwrap();
        assert!(!format!("{store:?}{opened:?}").contains("hidden"));
    }
}
