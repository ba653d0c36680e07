//! Regular files, and nothing else that may stand in their place: to open a FIFO waits for its writer, and a device may never end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file to be read. Anything else is refused at once.
///
/// # Errors
///
/// When it cannot be opened, or is no regular file: «it is a FIFO and no regular file».
pub fn open(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(nonblocking()).open(path)?)
}

fn nonblocking() -> i32 {
    i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default()
}

/// The file, if it is a regular one. Opened first and looked at then: what stands there may be exchanged in between.
fn checked(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {what} and no regular file")))
}

/// Opens a regular file to be written, and makes it where there is none.
///
/// # Errors
///
/// As of [`open`].
pub fn open_to_write(path: &Path) -> io::Result<File> {
    checked(
        OpenOptions::new().write(true).create(true).truncate(false).custom_flags(nonblocking()).open(path)?,
    )
}

/// What a regular file holds, as far as its first `most` bytes.
///
/// # Errors
///
/// As of [`open`], and when it cannot be read.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fifo_is_refused_at_once_and_a_file_is_read_as_far_as_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, file) = (directory.path().join("fifo"), directory.path().join("file"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::fs::write(&file, "0123456789").unwrap();
        let (done, answers) = mpsc::channel();
        // On a thread of its own, which a FIFO would hold for good.
        thread::spawn(move || done.send(read(&fifo, 100).unwrap_err().to_string()));
        let answer = answers.recv_timeout(Duration::from_secs(10)).expect("an answer at once");
        assert_eq!(answer, "it is a FIFO and no regular file");
        assert_eq!(read(&file, 4).unwrap(), b"0123");
        let fifo = directory.path().join("fifo");
        assert!(open_to_write(&fifo).is_err(), "nobody reads it, and nobody waits for that");
        let why = |path| read(path, 4).unwrap_err().to_string();
        assert_eq!(why(directory.path()), "it is a directory and no regular file");
        assert_eq!(why(Path::new("/dev/zero")), "it is a device and no regular file");
    }
}
