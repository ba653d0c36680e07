//! Words on the command line.

mod admin;
mod args;
mod called;
mod check;
mod compatibility;
mod counter;
mod counters;
mod env;
mod examples;
mod explain;
mod formats;
mod ignored;
mod machine;
mod man;
mod migrate;
mod reading;
mod redis_variables;
mod schema;
mod serve;
mod store;
mod test;
mod tls;
mod top;
mod trace_variables;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(not(feature = "otlp"))]
#[path = "traces_off.rs"]
mod traces;
mod variables;
mod wrong;
mod xds;

pub use variables::{ignored_variables, variables};

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use args::{Args, Command};
use compatibility::Environment;

/// The input is wrong.
const WRONG_INPUT: u8 = 1;
/// The command line or the environment is wrong.
const WRONG_COMMAND: u8 = 2;
/// The program failed, or what it needs was not to be had: an address, a name, a store that another process has open. The same start
/// may succeed a moment later.
const FAILED: u8 = 70;

/// Runs the program; its exit code is 0 when all is well, 1 when the input is wrong, 2 when the command line or
/// the environment is wrong and 70 when the program failed, or lacked what it may have a moment later.
pub fn main() -> ExitCode {
    // It is there already where a program that this is part of has said so.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = match wrong::parse() {
        Ok(args) => args.command,
        Err(code) => return code,
    };
    // What is wrong with the environment is what this is for.
    if let Command::Env(args) = &command {
        return env::run(args);
    }
    let environment = match Environment::read(matches!(command, Command::Serve(_))) {
        Ok(environment) => environment,
        Err(wrong) => {
            let code = if wrong.iter().all(reading::Wrong::may_pass) { FAILED } else { WRONG_COMMAND };
            return wrong::report(wrong.iter().map(ToString::to_string), code);
        }
    };
    let misspelt = variables::misspelt();
    if !misspelt.is_empty() {
        let told = misspelt.iter().map(|(name, meant)| {
            format!("the environment has {name}, which nobody reads; did you mean `{meant}`?")
        });
        return wrong::report(told, WRONG_COMMAND);
    }
    match command {
        Command::Serve(args) => serve::run(*args, &environment),
        Command::Check(args) => check::run(&args, &environment),
        Command::Explain(args) => explain::run(&args, &environment),
        Command::Test(args) => test::run(&args, &environment),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "spillway", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Man { folder } => man::run(&folder),
        Command::Schema => schema::run(),
        Command::Env(args) => env::run(&args),
        Command::Migrate(args) => migrate::run(&args, &environment),
        Command::Store(args) => store::run(&args, &environment),
        Command::Top(args) => top::run(&args),
    }
}

/// Writes what was asked for. Half of it must not look like all of it: where the disk is full, say, the program has failed. A
/// reader that has gone away has read enough.
#[must_use]
fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("error: cannot write to standard output: {error}\n"));
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes what went wrong.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn colour(stream: &impl IsTerminal) -> bool {
    #[expect(clippy::disallowed_methods, reason = "only `cli` reads the environment")]
    let wanted = std::env::var("NO_COLOR").map_or(true, |no| no.is_empty());
    wanted && stream.is_terminal()
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
