//! Mistakes on the command line and in the environment, reported in the format of the log and by the name of the flag or the
//! variable that has the value.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use super::args::{Args, LogFormat, NoAddress};
use super::serve::last_line;
use super::{FAILED, WRONG_COMMAND, called, colour, complain, print};
use crate::model::lossy;
use crate::store::shown_url;

/// What was typed, or else what to exit with, once everything is reported.
pub(super) fn parse() -> Result<Args, ExitCode> {
    understood(command()).map_err(|mut error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let text = error.render();
            let in_colour = colour(&io::stdout());
            return print(&if in_colour { text.ansi().to_string() } else { text.to_string() });
        }
        name_the_variable(&mut error);
        show_safely(&mut error);
        match log_format() {
            LogFormat::Json => complain(&last_line(LogFormat::Json, &in_short(&error))),
            // The reader may have gone away, and then nobody is left to read this.
            LogFormat::Text => drop(error.print()),
        }
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
        if let Some(NoAddress::Unresolved(_)) = source {
            return ExitCode::from(FAILED);
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_COMMAND))
    })
}

fn understood(mut command: clap::Command) -> Result<Args, clap::Error> {
    let mut matches = command.try_get_matches_from_mut(called::words())?;
    Args::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// What can be typed. A variable of the environment that is empty is as if it were not set, as those of envoyproxy/ratelimit are:
/// `${NAME:-}` in a Compose file or a chart means that nothing is said.
fn command() -> clap::Command {
    #[expect(clippy::disallowed_methods, reason = "only `cli` reads the environment")]
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let said = move |argument: clap::Arg| match argument.get_env() {
        Some(name) if is_empty(name) => argument.env(Resettable::Reset),
        _ => argument,
    };
    let names: Vec<String> = Args::command().get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names.into_iter().fold(Args::command(), |all, name| all.mut_subcommand(name, |one| one.mut_args(said)))
}

/// What is wrong with the variables of `serve`'s flags; the first of them.
pub(super) fn of_serve() -> Option<String> {
    let mut error = command().try_get_matches_from(["spillway", "serve"]).err()?;
    name_the_variable(&mut error);
    show_safely(&mut error);
    Some(in_short(&error))
}

/// Reports each variable of the environment that is wrong, and ends with `code`.
pub(super) fn report(wrong: impl IntoIterator<Item = String>, code: u8) -> ExitCode {
    let format = log_format();
    for message in wrong {
        complain(&last_line(format, &lossy(message.as_bytes())));
    }
    ExitCode::from(code)
}

/// The format of the log, as far as it can be known before everything else is.
fn log_format() -> LogFormat {
    let is_json = |text: &OsString| text.eq_ignore_ascii_case("json");
    let args: Vec<OsString> = called::words().into_iter().skip(1).collect();
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

/// A value that is wrong is shown with what does not print escaped, and a URL without what is secret in it.
fn show_safely(error: &mut clap::Error) {
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else { return };
    let shown = if value.contains("://") { shown_url(value) } else { value.clone() };
    error.insert(ContextKind::InvalidValue, ContextValue::String(lossy(shown.as_bytes()).into_owned()));
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
