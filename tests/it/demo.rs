//! `make demo` with the Envoy that is on the PATH.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::directory;

/// In the place of func-e, which downloads Envoys: notes how it was called, and runs the Envoy of the tests.
fn func_e(envoy: &str) -> String {
    format!(
        "#!/bin/sh\necho \"$ENVOY_VERSION $*\" >> \"$0.calls\"\n[ \"$1\" = run ] && shift && exec {envoy} \"$@\"\n"
    )
}

/// Python with the modules of the demonstration. `$ENVOY` is not to say which Envoy it is.
fn python(script: &str) -> Command {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import sys; sys.path.insert(0, 'envoy'); import demo, find\n{script}")]);
    python.env_remove("ENVOY").env_remove("ENVOY_VERSION");
    python
}

/// All that `make demo` starts, until Envoy asks Spillway; and ends. What is sent then would depend on how busy the machine is.
const STARTED: &str = "
with demo.Stack('memory') as stack:
    stack.start(sys.argv[1], find.command())
    print(stack.get('envoy admin', '/server_info')[0])
";

#[test]
fn func_e_runs_envoy_where_it_is_on_the_path() {
    let found = python("print(find.installed())").output().unwrap();
    let envoy = String::from_utf8(found.stdout).unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let tools = directory(&[("func-e", &func_e(envoy.trim()))]);
    let program = tools.path().join("func-e");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    // Before what is on the PATH already, but for another Envoy.
    let (_, rest) = std::env::vars().find(|(name, _)| name == "PATH").unwrap();
    let rest = rest.split(':').filter(|folder| !Path::new(folder).join("envoy").exists());
    let path = [tools.path().to_str().unwrap()].into_iter().chain(rest).collect::<Vec<_>>().join(":");
    let output = python(STARTED).arg(env!("CARGO_BIN_EXE_spillway")).env("PATH", path).output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && told.contains("200\n"), "{told}");
    let calls = fs::read_to_string(tools.path().join("func-e.calls")).unwrap();
    assert!(calls.starts_with("1.40.0 run -c "), "{calls}");
}
