//! Reading one file, whatever stands in its place.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// A million credentials are a third of this, with little said of each.
const LARGEST: u64 = 512 << 20;

/// The text of a regular file. Anything else is refused at once: to open a FIFO waits for its writer, and a device may
/// never end.
pub fn text(path: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    // Opened first and looked at then: what stands there may be exchanged in between.
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a FIFO"
        } else {
            "a device"
        };
        return Err(io::Error::other(format!("it is {what} and no regular file")));
    }
    let too_large = || io::Error::other(format!("it has more than {} MiB", LARGEST >> 20));
    if metadata.len() > LARGEST {
        return Err(too_large());
    }
    let mut text = String::new();
    // There may be less memory than that, and the server is to go on with what it has.
    text.try_reserve_exact(usize::try_from(metadata.len()).unwrap_or(usize::MAX))?;
    // It may grow while it is read.
    if file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        return Err(too_large());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert_eq!(text(&path("file")).unwrap(), "text");
        for (name, why) in [
            (path("fifo"), "it is a FIFO and no regular file"),
            (directory.path().to_owned(), "it is a directory and no regular file"),
            ("/dev/zero".into(), "it is a device and no regular file"),
        ] {
            assert_eq!(text(&name).unwrap_err().to_string(), why);
        }
        assert!(text(&path("socket")).is_err());
    }
}
