//! Who may use the port: the token in a file, and the sessions of browsers that showed it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::config::read_text;

/// How long a browser stays logged in.
pub(super) const SESSION: Duration = Duration::from_secs(12 * 3_600);
/// The most browsers that are logged in; the one that is longest so makes room for the next.
const MOST_SESSIONS: usize = 64;
/// The most bytes of a token's file.
const LONGEST: u64 = 4_096;
/// The fewest bytes of a token: who may guess ten thousand times a second guesses fewer.
const SHORTEST: usize = 16;

type Hash = [u8; 32];

/// A file whose one line is the token. It is read again when it changes; while it cannot be read nobody is let in.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    looks: Looks,
    /// The hash of the token; `None` while the file cannot be read or has none.
    token: Option<Hash>,
    /// By the hash of what the cookie says, when each ends.
    sessions: HashMap<Hash, Instant>,
}

/// What a file looks like from outside: device, inode, length, and when it was changed.
type Looks = Option<(u64, u64, u64, i64, i64)>;

fn looks(path: &Path) -> Looks {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

fn hash(text: &[u8]) -> Hash {
    Sha256::digest(text).into()
}

fn read(path: &Path) -> io::Result<Hash> {
    let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    if fs::metadata(path)?.len() > LONGEST {
        return wrong("it is longer than a token");
    }
    // On the port's own thread: a regular file, and nothing that would have to be waited for.
    let text = read_text(path)?;
    let token = text.trim();
    if token.len() < SHORTEST || token.contains(char::is_whitespace) {
        return wrong("it has to be one line of at least 16 characters, as `openssl rand -hex 32` prints");
    }
    Ok(hash(token.as_bytes()))
}

impl TokenFile {
    /// Reads the token.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has no token that is long enough.
    pub fn open(path: &Path) -> io::Result<Self> {
        let known = Known { looks: looks(path), token: Some(read(path)?), sessions: HashMap::new() };
        Ok(Self { path: path.to_owned(), known: Mutex::new(known) })
    }

    /// Whether `token` is what the file says now. It takes as long for any token of its length.
    pub(super) fn admits(&self, token: &[u8]) -> bool {
        let asked = hash(token);
        self.current().token.is_some_and(|token| bool::from(token.ct_eq(&asked)))
    }

    /// Logs a browser in: what its cookie is to say, if there is randomness for it.
    pub(super) fn begin_session(&self, now: Instant) -> Option<String> {
        let mut random = [0_u8; 32];
        let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        if filled != random.len() {
            return None;
        }
        let mut name = String::with_capacity(2 * random.len());
        for byte in random {
            name.push_str(&format!("{byte:02x}"));
        }
        let mut known = self.current();
        known.sessions.retain(|_, end| *end > now);
        if known.sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = known.sessions.iter().min_by_key(|(_, end)| **end).map(|(name, _)| *name)
        {
            known.sessions.remove(&oldest);
        }
        known.sessions.insert(hash(name.as_bytes()), now + SESSION);
        Some(name)
    }

    /// Whether a browser is logged in by that name. Names are looked up by their hash, so a comparison tells nothing of them.
    pub(super) fn is_session(&self, name: &[u8], now: Instant) -> bool {
        self.current().sessions.get(&hash(name)).is_some_and(|end| *end > now)
    }

    /// Logs a browser out.
    pub(super) fn end_session(&self, name: &[u8]) {
        self.current().sessions.remove(&hash(name));
    }

    /// What holds now that the file may have changed. Another token ends all sessions.
    fn current(&self) -> MutexGuard<'_, Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = looks(&self.path);
        if looks != known.looks {
            let token = read(&self.path).ok();
            if token != known.token {
                known.sessions.clear();
            }
            (known.looks, known.token) = (looks, token);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0123456789abcdef0123456789abcdef";
    const SECOND: &str = "fedcba9876543210fedcba9876543210";

    #[tokio::test(start_paused = true)]
    async fn a_new_token_takes_force_at_once_and_ends_every_session() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, format!("{FIRST}\n")).unwrap();
        let file = TokenFile::open(&path).unwrap();
        let session = file.begin_session(Instant::now()).unwrap();
        assert!(file.admits(FIRST.as_bytes()) && file.is_session(session.as_bytes(), Instant::now()));
        assert!(!file.is_session(b"invented", Instant::now()) && !file.admits(b""));

        // Put in its place, as deployments do.
        let next = directory.path().join("next");
        fs::write(&next, SECOND).unwrap();
        fs::rename(&next, &path).unwrap();
        assert!(!file.admits(FIRST.as_bytes()) && file.admits(SECOND.as_bytes()));
        assert!(!file.is_session(session.as_bytes(), Instant::now()));

        fs::remove_file(&path).unwrap();
        assert!(!file.admits(SECOND.as_bytes()), "without the file nobody is let in");
        // A FIFO would have whoever reads it wait for its writer.
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(!file.admits(SECOND.as_bytes()));
        fs::rename(&path, directory.path().join("fifo")).unwrap();
        fs::write(&path, SECOND).unwrap();
        assert!(file.admits(SECOND.as_bytes()));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_end_and_are_bounded_in_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, FIRST).unwrap();
        let file = TokenFile::open(&path).unwrap();
        let session = file.begin_session(Instant::now()).unwrap();
        tokio::time::advance(SESSION).await;
        assert!(!file.is_session(session.as_bytes(), Instant::now()));
        for _ in 0..10 * MOST_SESSIONS {
            file.begin_session(Instant::now()).unwrap();
        }
        assert_eq!(file.known.lock().unwrap().sessions.len(), MOST_SESSIONS);
    }

    #[test]
    fn what_is_no_token_is_refused_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for text in ["", "short", "two words that are long enough", &"x".repeat(5_000)] {
            fs::write(&path, text).unwrap();
            assert!(TokenFile::open(&path).is_err(), "{text}");
        }
    }
}
