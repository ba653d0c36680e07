//! `spillway serve`

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use super::admin::{Admin, store_place};
use super::args::{AlsoReported, Authority, Beyond, LogFormat, Serve};
use super::check::report;
use super::compatibility::Environment;
use super::counters::{Opened, forgotten};
use super::tls::Wrong;
use super::xds::XdsVariables;
use super::{FAILED, WRONG_COMMAND, WRONG_INPUT, chain, colour, complain, machine};
use crate::app::{self, Address, Bounds, Certificates, Limits, Listeners, Origins, ServeError, Xds};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Diagnostic, Fingerprint, Loaded, Options, Sources};
use crate::control::{Reporting, Watched, amend_all, hold_tiers};
use crate::limiter::{Limiter, WithoutStore};
use crate::policy::Policy;
use crate::rls::{BeyondBounds, InvalidAuthority};
use crate::store::{AnyStore, RedisStore, Store as _};
use crate::telemetry::log::Log;
use crate::telemetry::{
    self, ConfigLoaded, CountersAway, CountersKept, Forgotten, Metrics, OnlyWatching, ReplicasCountAlone,
    Starting, StoreLostCommits, StoreNotClosed, WithoutEffect, build,
};
use crate::traces::Exporter;
use crate::xds::{Followed, XdsServer};

/// How long it may take to give back what was taken of shared counters.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: Serve, environment: &Environment) -> ExitCode {
    let format = args.log_format.unwrap_or(if environment.json { LogFormat::Json } else { LogFormat::Text });
    let log = Log::to(io::stderr());
    let fail = |log: Log, message: &str, code: u8| {
        log.finish(last_line(format, message));
        ExitCode::from(code)
    };
    let reload = Arc::new(Notify::new());
    // Before the first line of the log: a file that is as large as it may be is told by a signal.
    let (runtime, asked) = match runtime(&reload) {
        Ok(begun) => begun,
        Err(error) => return fail(log, &format!("cannot start: {error}"), FAILED),
    };
    start_logging(&args, environment, format, &log);
    if let Some((name, what)) = environment.missing {
        return fail(log, &format!("{name} asks for {what}"), WRONG_COMMAND);
    }
    let Ports { grpc, http, admin, certificates } = match Ports::of(&args, environment) {
        Ok(ports) => ports,
        Err((wrong, code)) => return fail(log, &wrong, code),
    };
    let memory = args.max_counter_memory.unwrap_or_else(|| machine::memory() / 2);
    let store = args.store.as_ref().unwrap_or(&environment.store);
    let counters = match store.open(args.max_counters, memory, args.replicas) {
        Ok(opened) => opened,
        Err((wrong, code)) => return fail(log, &wrong, code),
    };
    let connections = match Limits::within(machine::descriptors(), app::cores(), args.max_connections) {
        Ok(limits) => limits,
        Err(error) => return fail(log, &error.to_string(), WRONG_INPUT),
    };
    Starting { version: build::VERSION, commit: build::COMMIT }.emit();
    let bounds = bounds(connections, &args, environment);
    let servers = match environment.xds.servers(&args.xds) {
        Ok(servers) => servers,
        Err(wrong) => return fail(log, &wrong, WRONG_COMMAND),
    };
    let path = args.config.or_else(|| servers.is_empty().then(|| environment.config.clone()));
    let options = environment.options(args.merging);
    // Before they are read: what changes in between is seen as a change.
    let seen = path.as_ref().map(|path| Fingerprint::of(path, options.every_file, &[]));
    let Some((read, loaded)) = load_until_asked(&runtime, &asked, path.clone(), options.clone()) else {
        // Nobody was served yet. Reading goes on until the process has ended, which does not wait for it.
        runtime.shutdown_background();
        return finish(log);
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(diagnostics) => return refuse(log, format, &diagnostics),
    };
    let metrics = Arc::new(Metrics::default());
    metrics.watch_log(log.dropped());
    let reporting = if format == LogFormat::Json { Reporting::Fields } else { Reporting::Text };
    report_what_holds(&options, environment, args.also, &metrics);
    let mut origins = Origins { xds: xds(servers, &options, reporting, environment), ..Origins::default() };
    if let Some((path, seen)) = path.zip(seen) {
        report_loaded(&loaded, reporting, &metrics);
        origins.files = Some(Watched { path, options, seen, files: loaded.names, reload, reporting });
        origins.read = Some(read);
    }
    report_counters(&counters, &loaded.policy, args.replicas.get());
    metrics.set_bounds(metric_bounds(args.max_counters, memory, connections));
    let store_place = store_place(&counters.store, &counters.place);
    let (limiter, server) =
        match limiter(loaded.policy, counters, WithoutStore::new(args.store_timeout, args.replicas)) {
            Ok((limiter, server)) => (Arc::new(limiter), server),
            Err(wrong) => return fail(log, &wrong, WRONG_INPUT),
        };
    let traces = match environment.traces.start(&metrics, &limiter) {
        Ok(traces) => traces,
        Err(wrong) => return fail(log, &wrong, WRONG_INPUT),
    };
    let ended = runtime.block_on(async {
        let mut listeners = Listeners::bind(grpc, http).await?;
        listeners.grpc.tls = certificates;
        listeners.grpc.tracer = traces.as_ref().map(Exporter::tracer);
        if let Some(admin) = admin {
            admin.open(&mut listeners, store_place).await?;
        }
        report_server(server).await;
        let shutdown = reached(asked.clone(), 1);
        let shared = Arc::clone(&limiter);
        let serving = async {
            let ended =
                app::serve(shared, metrics, origins, listeners, bounds, args.drain_delay, shutdown).await;
            close(&limiter).await;
            if let Some(traces) = traces {
                traces.finish().await;
            }
            ended.map(|()| true)
        };
        tokio::select! {
            ended = serving => ended,
            () = reached(asked, 2) => Ok(false),
        }
    });
    // What is still running is not waited for: it was drained, or is to end at once.
    runtime.shutdown_background();
    let (message, code) = match ended {
        Ok(true) => return finish(log),
        Ok(false) => ("ended by a second signal, before calls in flight were answered".to_owned(), FAILED),
        Err(error @ ServeError::Bind { .. }) => (error.to_string(), unbound(&error)),
        Err(error) => (chain(&error), FAILED),
    };
    fail(log, &message, code)
}

/// What the program ends with where it cannot listen.
fn unbound(error: &ServeError) -> u8 {
    if error.may_pass() { FAILED } else { WRONG_INPUT }
}

/// The runtime, and how often the end was asked for.
fn runtime(reload: &Arc<Notify>) -> io::Result<(Runtime, watch::Receiver<u32>)> {
    let runtime = Runtime::new()?;
    let asked = runtime.block_on(async { signals(Arc::clone(reload)) })?;
    Ok((runtime, asked))
}

/// Where the server listens.
struct Ports {
    grpc: Address,
    http: SocketAddr,
    admin: Option<Admin>,
    /// Those for gRPC.
    certificates: Option<Arc<Certificates>>,
}

impl Ports {
    /// As they are asked for; or why the server must not start so.
    fn of(args: &Serve, environment: &Environment) -> Result<Self, Wrong> {
        let token = args.admin_token_file.as_deref();
        let tls = args.tls.admin(token.is_some())?;
        let admin = Admin::of(args.admin_addr, environment.admin, token, tls);
        Ok(Self {
            grpc: args.grpc_addr.clone().unwrap_or_else(|| environment.grpc.clone()),
            http: args.http_addr.unwrap_or(environment.http),
            admin: admin.map_err(|wrong| (wrong, WRONG_COMMAND))?,
            certificates: args.tls.grpc(environment)?,
        })
    }
}

/// Reports what was read of files, and what is probably not meant in them.
fn report_loaded(loaded: &Loaded, reporting: Reporting, metrics: &Metrics) {
    reporting.warned(&loaded.warnings);
    ConfigLoaded { files: loaded.names.len(), rules: loaded.policy.rules() }.emit(metrics);
}

/// Ends as was asked for.
fn finish(log: Log) -> ExitCode {
    log.finish(String::new());
    ExitCode::SUCCESS
}

/// The control planes that are asked, if there are any.
fn xds(
    servers: Vec<XdsServer>,
    options: &Options,
    reporting: Reporting,
    environment: &Environment,
) -> Option<Xds> {
    let XdsVariables { starts_without, needs_a_domain, .. } = environment.xds;
    let followed = Followed { servers, options: options.clone(), reporting };
    (!followed.servers.is_empty()).then_some(Xds { followed, starts_without, needs_a_domain })
}

/// Ends the start for mistakes in the files.
fn refuse(log: Log, format: LogFormat, diagnostics: &[Diagnostic]) -> ExitCode {
    if format == LogFormat::Text {
        // The log's lines wait in a queue, and belong before the report. The report is written here and not by
        // `finish`, which gives up on a reader that takes longer than a second and a half.
        log.finish(String::new());
        complain(&report(diagnostics, &io::stderr()));
    } else {
        Reporting::each(diagnostics);
        log.finish(last_line(format, "the configuration is refused"));
    }
    ExitCode::from(WRONG_INPUT)
}

/// Reports a server of counters that is down.
async fn report_server(server: Option<RedisStore>) {
    if let Some(server) = server
        && let Err(error) = server.ready().await
    {
        CountersAway { error: &error }.emit();
    }
}

/// Enforces `policy`, with subjects as operators changed them, in the tiers that the store knows they reached; and the server that the counters are in.
fn limiter(
    mut policy: Policy,
    counters: Opened,
    without_store: WithoutStore,
) -> Result<(Limiter<AnyStore, SystemClock>, Option<RedisStore>), String> {
    let Opened { store, keyer, server, .. } = counters;
    let clock = SystemClock::new();
    amend_all(&mut policy, &store).map_err(|wrong| wrong.message)?;
    if let Some(records) = store.records() {
        hold_tiers(&mut policy, &*records, clock.now()).map_err(|error| format!("--store: {error}"))?;
    }
    let limiter = Limiter::with_keys(policy, keyer, store, clock);
    Ok((Limiter { without_store, ..limiter }, server))
}

/// Gives the store what it has yet to get.
async fn close(limiter: &Limiter<AnyStore, SystemClock>) {
    let now = limiter.clock.read().steady;
    if let Err(error) = limiter.store.close(now, Instant::now() + CLOSED_WITHIN).await {
        StoreNotClosed { error: &error }.emit();
    }
}

/// Reports what an operator may have forgotten that they asked for, and has metrics reported as they want them.
fn report_what_holds(options: &Options, environment: &Environment, also: AlsoReported, metrics: &Metrics) {
    environment.reports.clone().apply_to(also, metrics);
    metrics.set_near_limit(environment.near_limit);
    if options.shadow_mode {
        metrics.set_shadow_mode();
        OnlyWatching.emit();
    }
    if !environment.without_effect.is_empty() {
        WithoutEffect { variables: &environment.without_effect }.emit();
    }
}

/// Reports where counters are kept, and which of them a restart forgets.
fn report_counters(counters: &Opened, policy: &Policy, replicas: u32) {
    CountersKept { place: &counters.place }.emit();
    if let AnyStore::Disk(disk) = &counters.store
        && disk.lost_commits() > 0
    {
        StoreLostCommits { store: disk.name(), commits: disk.lost_commits() }.emit();
    }
    if replicas > 1 && counters.server.is_none() {
        ReplicasCountAlone { replicas }.emit();
    }
    if let AnyStore::Memory(_) = counters.store
        && let Some(limits) = forgotten(policy)
    {
        Forgotten { limits: &limits }.emit();
    }
}

fn metric_bounds(counters: usize, counter_bytes: usize, connections: Limits) -> telemetry::Bounds {
    telemetry::Bounds {
        counters: counters as u64,
        counter_bytes: counter_bytes as u64,
        grpc_connections: connections.grpc as u64,
        http_connections: connections.http as u64,
    }
}

/// What is beyond a bound, and what becomes of it.
fn bounds(connections: Limits, args: &Serve, environment: &Environment) -> Bounds {
    let requests = match args.beyond_bounds {
        Beyond::Refuse if environment.options(args.merging).shadow_mode => BeyondBounds::Pass,
        Beyond::Refuse => BeyondBounds::Refuse,
        Beyond::Error => BeyondBounds::Error,
    };
    let authorities = match args.invalid_authority {
        Authority::Accept => InvalidAuthority::Accept,
        Authority::Reset => InvalidAuthority::Reset,
    };
    let connection_age = environment.connection_age(args.max_connection_age);
    Bounds { connections, requests, authorities, connection_age }
}

/// Reads the files for the first time, if there are any. `None` when the end was `asked` for meanwhile.
fn load_until_asked(
    runtime: &Runtime,
    asked: &watch::Receiver<u32>,
    path: Option<PathBuf>,
    options: Options,
) -> Option<(Sources, Result<Loaded, Vec<Diagnostic>>)> {
    let loading = runtime.spawn_blocking(move || {
        let sources = Sources::in_files(path.as_slice(), options.every_file);
        let loaded = config::compile(&sources, options);
        (sources, loaded)
    });
    let loaded = runtime.block_on(async {
        tokio::select! {
            loaded = loading => Some(loaded),
            () = reached(asked.clone(), 1) => None,
        }
    })?;
    let panicked = |_| {
        let bug = vec![Diagnostic::error("internal error: loading panicked, which is a bug")];
        (Sources::in_memory::<String, String>([], []), Err(bug))
    };
    Some(loaded.unwrap_or_else(panicked))
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
            // To the microsecond, as in all other lines.
            let timestamp = format!("{:.6}", timestamp.unwrap_or_default());
            let line =
                serde_json::json!({"timestamp": timestamp, "level": "ERROR", "fields": {"message": message}});
            format!("{line}\n")
        }
    }
}
