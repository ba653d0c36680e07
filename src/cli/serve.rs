//! `spillway serve`

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tracing_subscriber::EnvFilter;

use super::args::{Authority, Beyond, LogFormat, Serve};
use super::check::report;
use super::compatibility::Environment;
use super::counters::{Counters, forgotten};
use super::{FAILED, WRONG_COMMAND, WRONG_INPUT, colour, complain, machine};
use crate::app::{self, Bounds, Limits, Listeners, ServeError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Fingerprint};
use crate::control::{Reporting, Watched};
use crate::limiter::{Limiter, WithoutStore};
use crate::rls::{BeyondBounds, InvalidAuthority};
use crate::store::{AnyStore, MemoryStore};
use crate::telemetry::log::Log;
use crate::telemetry::{ConfigLoaded, Forgotten, Metrics, OnlyWatching, Starting, WithoutEffect, build};

pub(super) fn run(args: Serve, environment: &Environment) -> ExitCode {
    let format = args.log_format.unwrap_or(if environment.json { LogFormat::Json } else { LogFormat::Text });
    let log = Log::to(io::stderr());
    let fail = |log: Log, message: &str, code: u8| {
        log.finish(last_line(format, message));
        ExitCode::from(code)
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(log, &format!("cannot start: {error}"), FAILED),
    };
    let reload = Arc::new(Notify::new());
    // Before the first line of the log: a file that is as large as it may be is told by a signal.
    let asked = match runtime.block_on(async { signals(Arc::clone(&reload)) }) {
        Ok(asked) => asked,
        Err(error) => return fail(log, &format!("cannot start: {error}"), FAILED),
    };
    start_logging(&args, environment, format, &log);
    if let Some((name, what)) = environment.missing {
        return fail(log, &format!("{name} asks for {what}"), WRONG_COMMAND);
    }
    if let Some(what) = args.store.not_built_in() {
        return fail(log, &what, WRONG_COMMAND);
    }
    let connections = match Limits::within(machine::descriptors(), app::cores(), args.max_connections) {
        Ok(limits) => limits,
        Err(error) => return fail(log, &error.to_string(), WRONG_INPUT),
    };
    Starting { version: build::VERSION, commit: build::COMMIT }.emit();
    let path = args.config.unwrap_or_else(|| environment.config.clone());
    let options = environment.options(args.merging);
    let requests = match args.beyond_bounds {
        Beyond::Refuse if options.shadow_mode => BeyondBounds::Pass,
        Beyond::Refuse => BeyondBounds::Refuse,
        Beyond::Error => BeyondBounds::Error,
    };
    let authorities = match args.invalid_authority {
        Authority::Accept => InvalidAuthority::Accept,
        Authority::Reset => InvalidAuthority::Reset,
    };
    let bounds = Bounds { connections, requests, authorities };
    // Before they are read: what changes in between is seen as a change.
    let seen = Fingerprint::of(&path, options.every_file, &[]);
    let loaded = match config::load(&[&path], options.clone()) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            if format == LogFormat::Text {
                // The log's lines wait in a queue, and belong before the report. The report is written here and not by
                // `finish`, which gives up on a reader that takes longer than a second and a half.
                log.finish(String::new());
                complain(&report(&diagnostics, &io::stderr()));
                return ExitCode::from(WRONG_INPUT);
            }
            Reporting::each(&diagnostics);
            return fail(log, "the configuration is refused", WRONG_INPUT);
        }
    };
    let metrics = Arc::new(Metrics::default());
    metrics.watch_log(log.dropped());
    let reporting = if format == LogFormat::Json { Reporting::Fields } else { Reporting::Text };
    reporting.warned(&loaded.warnings);
    if options.shadow_mode {
        OnlyWatching.emit();
    }
    if !environment.without_effect.is_empty() {
        WithoutEffect { variables: &environment.without_effect }.emit();
    }
    if args.store == Counters::Memory
        && let Some(limits) = forgotten(&loaded.policy)
    {
        Forgotten { limits: &limits }.emit();
    }
    ConfigLoaded { files: loaded.names.len(), rules: loaded.policy.rules() }.emit(&metrics);
    let watched = Some(Watched { path, options, seen, files: loaded.names, reload, reporting });
    let memory = args.max_counter_memory.unwrap_or_else(|| machine::memory() / 2);
    let store = AnyStore::from(MemoryStore::holding(args.max_counters, memory));
    let mut limiter = Limiter::new(loaded.policy, store, SystemClock::new());
    limiter.without_store = WithoutStore::new(args.store_timeout, args.replicas);
    let limiter = Arc::new(limiter);

    let grpc = args.grpc_addr.unwrap_or(environment.grpc);
    let http = args.http_addr.unwrap_or(environment.http);
    let ended = runtime.block_on(async {
        let listeners = Listeners::bind(grpc, http).await?;
        let shutdown = reached(asked.clone(), 1);
        tokio::select! {
            ended = app::serve(limiter, metrics, watched, listeners, bounds, args.drain_delay, shutdown) => ended.map(|()| true),
            () = reached(asked, 2) => Ok(false),
        }
    });
    // What is still running is not waited for: it was drained, or is to end at once.
    runtime.shutdown_background();
    match ended {
        Ok(true) => {
            log.finish(String::new());
            ExitCode::SUCCESS
        }
        Ok(false) => fail(log, "ended by a second signal, before calls in flight were answered", FAILED),
        Err(error @ ServeError::Bind { .. }) => fail(log, &error.to_string(), WRONG_INPUT),
        Err(error) => fail(log, &chain(&error), FAILED),
    }
}

/// How often the end was asked for, by SIGTERM or SIGINT. SIGHUP asks for the files to be read. What else would end the
/// process without a word is caught, and means nothing: a log file that may grow no more, and signals that other servers
/// have a meaning for.
fn signals(reload: Arc<Notify>) -> io::Result<watch::Receiver<u32>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let too_large = SignalKind::from_raw(Signal::XFSZ.as_raw());
    for nothing in [too_large, SignalKind::user_defined1(), SignalKind::user_defined2()] {
        // It stays caught when nobody listens.
        drop(signal(nothing)?);
    }
    let (asking, asked) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => asking.send_modify(|times| *times += 1),
                _ = interrupt.recv() => asking.send_modify(|times| *times += 1),
                _ = hangup.recv() => reload.notify_one(),
            }
        }
    });
    Ok(asked)
}

async fn reached(mut asked: watch::Receiver<u32>, enough: u32) {
    // An error means that nobody is left to ask.
    let _ = asked.wait_for(|&times| times >= enough).await;
}

fn start_logging(args: &Serve, environment: &Environment, format: LogFormat, log: &Log) {
    let level = args.log_level.or(environment.log_level).unwrap_or(tracing::Level::INFO);
    // The libraries below are only interesting when they fail; what clients can make them warn of is not rate-limited.
    let filter = EnvFilter::new(format!("error,spillway={level}"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(log.writer())
        .log_internal_errors(false);
    if format == LogFormat::Json {
        logs.json().init();
    } else {
        logs.with_ansi(colour(&io::stderr()) && io::stderr().is_terminal()).init();
    }
    log.take_panics();
}

/// What the log ends with: `message`, in the format of all other lines.
pub(super) fn last_line(format: LogFormat, message: &str) -> String {
    match format {
        LogFormat::Text => format!("error: {message}\n"),
        LogFormat::Json => {
            let timestamp = jiff::Timestamp::from_nanosecond(SystemClock::new().now().as_nanos().into());
            let timestamp = timestamp.unwrap_or_default().to_string();
            let line =
                serde_json::json!({"timestamp": timestamp, "level": "ERROR", "fields": {"message": message}});
            format!("{line}\n")
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
