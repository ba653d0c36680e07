//! The name that the program is called by. As `ratelimit`, the name of envoyproxy/ratelimit's program, it serves without being
//! told to: deployments of that server run it by its path and say everything by variables of the environment.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name of that program.
const RATELIMIT: &str = "ratelimit";
/// Where its files are unless `RUNTIME_ROOT` says otherwise.
pub(super) const RUNTIME_ROOT: &str = "/srv/runtime_data/current";

/// Whether it is called by that server's name.
pub(super) fn as_ratelimit() -> bool {
    std::env::args_os().next().is_some_and(|program| is_ratelimit(&program))
}

/// The command line, the program's name first.
pub(super) fn words() -> Vec<OsString> {
    understood(std::env::args_os().collect())
}

fn is_ratelimit(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == RATELIMIT)
}

/// With the `serve` that is meant: that server has no commands, and no flags of its own.
fn understood(words: Vec<OsString>) -> Vec<OsString> {
    let is_called_so = words.first().is_some_and(|program| is_ratelimit(program));
    let is_flag = |word: &OsString| word.to_string_lossy().starts_with('-');
    let asks = |word: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|known| word == known);
    let serves = words.get(1).is_none_or(|word| is_flag(word) && !asks(word));
    if !is_called_so || !serves {
        return words;
    }
    ["spillway", "serve"].into_iter().map(OsString::from).chain(words.into_iter().skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let words = understood(line.split(' ').map(OsString::from).collect());
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn under_the_name_of_the_other_server_it_serves() {
        for (typed, meant) in [
            ("/bin/ratelimit", "spillway serve"),
            ("ratelimit --log-level debug", "spillway serve --log-level debug"),
            ("ratelimit --version", "ratelimit --version"),
            ("ratelimit check config", "ratelimit check config"),
            ("spillway", "spillway"),
            ("/bin/spillway --help", "/bin/spillway --help"),
            ("/opt/ratelimit/spillway", "/opt/ratelimit/spillway"),
        ] {
            assert_eq!(read(typed), meant, "{typed}");
        }
    }
}
