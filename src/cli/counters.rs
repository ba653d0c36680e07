//! `--store`: where counters are kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::hint::did_you_mean;

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
    /// What is asked for and not there yet.
    pub(super) fn not_built_in(&self) -> Option<String> {
        let what = match self {
            Self::Memory => return None,
            Self::Disk(_) => "counters on disk are",
            Self::Redis(_) => "counters in Redis or Valkey are",
        };
        Some(format!("--store: {what} not built in yet. Leave it out to have them in memory"))
    }
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
        assert!(!format!("{store:?}{:?}", store.not_built_in()).contains("hidden"));
    }
}
