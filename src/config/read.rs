//! Reading one file, whatever stands in its place.

use std::io::{self, Read as _};
use std::path::Path;

use crate::regular;

/// A million credentials are a third of this, with little said of each.
const LARGEST: u64 = 512 << 20;

/// How much of a file is read at once: many kernels let nobody else have the core before all of it is copied, and some megabytes
/// would keep it from a worker for milliseconds.
const PIECE: u64 = 64 << 10;

/// How much of a file is looked at to find out what it is.
const START: u64 = 1 << 20;

/// The text of a regular file, in UTF-8, or in UTF-16 if its byte order mark says so.
pub fn text(path: &Path) -> io::Result<String> {
    let mut file = regular::open(path)?;
    let length = file.metadata()?.len();
    let too_large = || io::Error::other(format!("it has more than {} MiB", LARGEST >> 20));
    if length > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // There may be less memory than that, and the server is to go on with what it has.
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
    // It may grow while it is read.
    while file.by_ref().take(PIECE).read_to_end(&mut bytes)? > 0 {
        if bytes.len() as u64 > LARGEST {
            return Err(too_large());
        }
    }
    decode(bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

/// What a regular file begins with, as far as it is text.
pub(super) fn start(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    regular::open(path)?.take(START).read_to_end(&mut bytes)?;
    Ok(decode(bytes.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The text that a file's bytes are, or why they are none.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    match bytes.as_slice() {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err("it is UTF-32, and has to be UTF-8 text".to_owned())
        }
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        _ => String::from_utf8(bytes).map_err(|error| {
            let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
            let line = valid.split(|byte| *byte == b'\n').count();
            format!("it is not UTF-8 text, for the byte 0x{:02X} in line {line}", rest.first().unwrap_or(&0))
        }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.split_at(bytes.len() & !1);
    let text: Result<String, _> =
        char::decode_utf16(pairs.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]))).collect();
    text.ok().filter(|_| rest.is_empty()).ok_or_else(|| "it begins like UTF-16 text and is none".to_owned())
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

    #[test]
    fn the_text_is_the_same_in_whatever_encoding_an_editor_saved_it() {
        let yaml = "domain: größe\ndescriptors: [{key: 😀}]\n";
        let units: Vec<u16> = format!("\u{feff}{yaml}").encode_utf16().collect();
        let little = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        assert_eq!(decode(little).as_deref(), Ok(yaml));
        assert_eq!(decode(big).as_deref(), Ok(yaml));
        let marked = format!("\u{feff}{yaml}");
        assert_eq!(decode(marked.clone().into_bytes()), Ok(marked.clone()));
        for text in [yaml, &marked] {
            let loaded = crate::config::load_text("a.yaml", text, crate::config::Options::default()).unwrap();
            assert!(loaded.policy.domain("größe".as_bytes()).is_some());
        }
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        for (bytes, why) in [
            (b"a: b\n# gr\xfc\xdfe\n".as_slice(), "it is not UTF-8 text, for the byte 0xFC in line 2"),
            (b"\xff\xfe\0\0a\0\0\0", "it is UTF-32, and has to be UTF-8 text"),
            (b"\xff\xfea\0b", "it begins like UTF-16 text and is none"),
            (b"\xfe\xff\xd8\0", "it begins like UTF-16 text and is none"),
        ] {
            assert_eq!(decode(bytes.to_vec()), Err(why.to_owned()));
        }
    }
}
