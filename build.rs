//! Tells the program which commit it is built from.
//!
//! `SPILLWAY_COMMIT` says so where a package is built outside a checkout; without it and without git it is `unknown`.

#![allow(clippy::print_stdout, reason = "Cargo reads what a build script prints")]
#![allow(clippy::disallowed_methods, reason = "Cargo tells a build script everything by the environment")]

use std::env;
use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "SPILLWAY_COMMIT";
/// As many characters as people know a commit by.
const SHORT: usize = 7;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let commit = match env::var(VARIABLE) {
        Ok(told) if !told.is_empty() => given(&told)?,
        _ => checked_out().unwrap_or_else(|| "unknown".to_owned()),
    };
    println!("cargo::rustc-env=SPILLWAY_BUILD_COMMIT={commit}");
    Ok(())
}

/// What a packager says. It becomes a label of a metric.
fn given(told: &str) -> Result<String, String> {
    if !told.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+')) {
        return Err(format!("{VARIABLE}={told:?} is no commit"));
    }
    let is_hash = told.len() == 40 && told.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(if is_hash { told[..SHORT].to_owned() } else { told.to_owned() })
}

/// The commit that is checked out here, and not in a directory above: sources that were unpacked below somebody's checkout are
/// no part of it.
fn checked_out() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", &format!("--short={SHORT}"), "HEAD"])?;
    // The branch's own file is not there while it is packed; the log of HEAD grows with each commit and each checkout.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // Cargo would build each time for a file that is not there.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some(commit)
}

fn git(args: &[&str]) -> Option<String> {
    // Named, the repository may belong to somebody else, as in a container.
    let output = Command::new("git").arg("--git-dir=.git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
