//! Mistakes on the command line and in the environment, reported in the format of the log and by the name of the flag or the
//! variable that has the value.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::args::{Args, LogFormat};
use super::serve::last_line;
use super::{WRONG_COMMAND, complain};

/// What was typed, or else what to exit with, once everything is reported.
pub(super) fn parse() -> Result<Args, ExitCode> {
    Args::try_parse().map_err(|mut error| {
        name_the_variable(&mut error);
        let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        match log_format() {
            LogFormat::Json if !is_asked_for => complain(&last_line(LogFormat::Json, &in_short(&error))),
            // The reader may have gone away, and then nobody is left to read this.
            _ => drop(error.print()),
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_COMMAND))
    })
}

/// Reports each variable of the environment that is wrong.
pub(super) fn report(wrong: impl IntoIterator<Item = String>) -> ExitCode {
    let format = log_format();
    for message in wrong {
        complain(&last_line(format, &message));
    }
    ExitCode::from(WRONG_COMMAND)
}

/// The format of the log, as far as it can be known before everything else is.
fn log_format() -> LogFormat {
    let is_json = |text: &OsString| text.eq_ignore_ascii_case("json");
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Only one command has a log.
    if args
        .iter()
        .find(|arg| !arg.to_string_lossy().starts_with('-'))
        .is_none_or(|command| command != "serve")
    {
        return LogFormat::Text;
    }
    let behind = args.iter().skip_while(|arg| *arg != "--log-format").nth(1).cloned();
    let typed = args.iter().find_map(|arg| arg.to_str()?.strip_prefix("--log-format=").map(OsString::from));
    #[expect(clippy::disallowed_methods, reason = "only `cli` reads the environment")]
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let said = typed.or(behind).or_else(|| set("SPILLWAY_LOG_FORMAT")).or_else(|| set("LOG_FORMAT"));
    if said.as_ref().is_some_and(is_json) { LogFormat::Json } else { LogFormat::Text }
}

/// A value that was not typed is of the flag's variable.
fn name_the_variable(error: &mut clap::Error) {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return };
    let flag = argument.split(' ').next().unwrap_or_default().to_owned();
    let is_typed = std::env::args_os().any(|arg| {
        arg.to_str().is_some_and(|arg| {
            arg.strip_prefix(&*flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    });
    if is_typed {
        return;
    }
    let command = Args::command();
    let mut arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let argument = arguments.find(|argument| argument.get_long() == flag.strip_prefix("--"));
    if let Some(variable) = argument.and_then(clap::Arg::get_env) {
        let variable = ContextValue::String(variable.to_string_lossy().into_owned());
        error.insert(ContextKind::InvalidArg, variable);
    }
}

/// An error without how it is laid out for a terminal, and without what is said below every one.
fn in_short(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.trim_start_matches("error: ");
    let said = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said =
        said.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    said.collect::<Vec<_>>().join("; ")
}
