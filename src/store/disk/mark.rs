//! Which commit was the last, kept beside the file: whether the file has lost one.
//!
//! redb takes the commit before for the last one when the last does not check. After a loss of power that is right: the disk never said
//! that it had the last one. But a byte that changed on the disk later looks the same, and gives back hits that were answered for. So
//! each commit has a number, and when the disk has it, the number is noted in a file beside. That the file has an earlier number than
//! that one is no torn write. The note itself is not forced to the disk, which costs a commit nothing: it may be too old after a loss of
//! power, and then it says nothing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::model::KeySecret;
use crate::regular;

/// The bytes of a note.
const WRITTEN: usize = 24;
/// The extension of the file beside.
const EXTENSION: &str = "last-commit";

/// Which file it is, and the number of its last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    file: u64,
    number: u64,
}

impl Commit {
    /// Before the first commit of a file, which no other file is taken for.
    pub(super) fn first() -> Self {
        let [file, _] = KeySecret::draw();
        Self { file, number: 0 }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.file) << 64 | u128::from(self.number)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(bytes.try_into().ok()?);
        let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).ok();
        Some(Self { file: half(both >> 64)?, number: half(both)? })
    }
}

/// The numbers of an open file's commits.
#[derive(Debug)]
pub(super) struct Mark {
    file: u64,
    /// Of the last commit.
    number: AtomicU64,
    path: PathBuf,
    beside: OnceLock<Option<fs::File>>,
    /// Whether the file has its name: only then its commits are noted.
    is_published: AtomicBool,
    lost: u64,
}

impl Mark {
    /// Of the file at `path`, whose last commit is `found`; or of one that is yet to [get](Self::publish) that name.
    pub(super) fn of(path: &Path, found: Commit, is_published: bool) -> Self {
        let path = path.with_extension(EXTENSION);
        let noted = regular::read(&path, WRITTEN as u64)
            .ok()
            .and_then(|noted| read(&noted))
            .filter(|noted| noted.file == found.file);
        let lost = noted.map_or(0, |noted| noted.number.saturating_sub(found.number));
        // No number is given twice.
        let number = AtomicU64::new(found.number + lost);
        Self {
            file: found.file,
            number,
            path,
            beside: OnceLock::new(),
            is_published: is_published.into(),
            lost,
        }
    }

    /// The file has its name from now on.
    pub(super) fn publish(&self) {
        self.is_published.store(true, Ordering::Relaxed);
    }

    /// How many commits the file has lost that the disk had.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// The commit that is next.
    pub(super) fn next(&self) -> Commit {
        Commit { file: self.file, number: self.number.load(Ordering::Relaxed) + 1 }
    }

    /// Notes that the disk has it.
    pub(super) fn note(&self, commit: Commit) {
        self.number.store(commit.number, Ordering::Relaxed);
        if !self.is_published.load(Ordering::Relaxed) {
            return;
        }
        let beside = self.beside.get_or_init(|| regular::open_to_write(&self.path).ok());
        if let Some(beside) = beside {
            // Where it cannot be written there is an older number, which says less.
            let _ = beside.write_all_at(&written(commit), 0);
        }
    }
}

/// The commit, and a sum that says whether it was written as a whole.
fn written(commit: Commit) -> [u8; WRITTEN] {
    let mut bytes = [0; WRITTEN];
    bytes[..16].copy_from_slice(&commit.to_bytes());
    bytes[16..].copy_from_slice(&sum(commit).to_be_bytes());
    bytes
}

fn read(bytes: &[u8]) -> Option<Commit> {
    let (commit, rest) = bytes.split_at_checked(16)?;
    let commit = Commit::from_bytes(commit)?;
    (rest == sum(commit).to_be_bytes()).then_some(commit)
}

fn sum(commit: Commit) -> u64 {
    !(commit.file ^ commit.number)
}
