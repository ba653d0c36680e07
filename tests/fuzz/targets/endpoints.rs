//! Endpoints: declared templates, and requests that nobody meant.
//!
//! The lines up to an empty one declare templates, as `METHOD /path` or `name=METHOD /path`. Each line after it is a
//! request, `METHOD target`, in any bytes.

use std::borrow::Cow;

use spillway::policy::Endpoints;

/// What the name of an undeclared endpoint may have at most: a method, sixteen segments of 40 bytes, and `/**`.
const LONGEST: usize = "OPTIONS ".len() + 16 * 41 + "/**".len();

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "?"];

pub(crate) fn run(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut endpoints = Endpoints::default();
    let mut declared = Vec::new();
    for line in lines.by_ref().take_while(|line| !line.is_empty()).take(40) {
        let line = String::from_utf8_lossy(line);
        let (name, template) =
            line.split_once('=').map_or((None, &*line), |(name, template)| (Some(name), template));
        match endpoints.add(name, template) {
            Ok(()) => declared.push((name.unwrap_or(template).to_owned(), template.to_owned())),
            Err(error) => drop((error.to_string(), error.hint())),
        }
    }
    for request in lines.take(40) {
        let space = request.iter().position(|&byte| byte == b' ').unwrap_or(request.len());
        let (method, target) = request.split_at(space);
        check(&endpoints, &declared, method, target.strip_prefix(b" ").unwrap_or(target));
    }
}

fn check(endpoints: &Endpoints, declared: &[(String, String)], method: &[u8], target: &[u8]) {
    let path = path(target);
    let found = endpoints.name(method, target);
    match (&found, best(declared, method, path)) {
        (Cow::Borrowed(found), Some(expected)) => {
            assert_eq!(String::from_utf8_lossy(found), expected, "another template fits better");
        }
        (Cow::Owned(name), None) => undeclared(endpoints, name, method, path),
        (Cow::Borrowed(found), None) => {
            panic!("{} does not fit", String::from_utf8_lossy(found));
        }
        (Cow::Owned(_), Some(expected)) => panic!("{expected} fits and was not found"),
    }
    // What cannot tell two endpoints apart does not.
    if path != b"*" && (path.is_empty() || path.starts_with(b"/")) {
        for same in [
            [b"/", path, b"?a=/b#c"].concat(),
            [path, b"//#/d?"].concat(),
            [b"http://u@[::1]:80/", path].concat(),
        ] {
            assert_eq!(found, endpoints.name(method, &same), "{}", String::from_utf8_lossy(&same));
        }
    }
}

/// The name that was made up for a request to `path`.
fn undeclared(endpoints: &Endpoints, name: &[u8], method: &[u8], path: &[u8]) {
    let name = str::from_utf8(name).expect("a name is text");
    assert!(name.len() <= LONGEST, "{} bytes: {name}", name.len());
    assert!(!name.contains(char::is_control), "{name:?}");
    let (verb, shown) = name.split_once(' ').expect("a name is a method and a path");
    assert!(METHODS.contains(&verb), "{name}");
    assert!(verb == "?" || verb.as_bytes() == method, "{name}");
    if path == b"*" {
        assert_eq!(shown, "*");
        return;
    }
    assert!(shown == "/" || (shown.starts_with('/') && !shown.ends_with('/')), "{name}");
    assert!(!shown.contains("//"), "{name}");
    assert!(!shown.contains(['?', '#']), "{name}");

    // Whatever number, hash or long text stands where one stood, the name is the same.
    let segments: Vec<&[u8]> = segments(path).collect();
    for (at, segment) in segments.iter().enumerate() {
        if segment.iter().all(u8::is_ascii_digit) || segment.len() > 40 {
            for id in [&b"7"[..], b"18446744073709551616", b"0123456789abcdefABCDEF", &[b'x'; 41], b"\xff"] {
                let mut other = segments.clone();
                other[at] = id;
                let other = [b"/", other.join(&b'/').as_slice()].concat();
                // The other may be declared.
                if let Cow::Owned(renamed) = endpoints.name(method, &other) {
                    assert_eq!(name.as_bytes(), &*renamed, "{}", String::from_utf8_lossy(&other));
                }
            }
        }
    }
    // A name is its own name.
    if verb != "?"
        && let Cow::Owned(again) = endpoints.name(verb.as_bytes(), shown.as_bytes())
    {
        assert_eq!(name.as_bytes(), &*again);
    }
}

/// A target without what is put aside: query, fragment, scheme and authority.
fn path(target: &[u8]) -> &[u8] {
    let target = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let Ok(text) = str::from_utf8(&target[..target.iter().take_while(|byte| byte.is_ascii()).count()]) else {
        return target;
    };
    match text.split_once("://") {
        Some((scheme, _))
            if !scheme.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
        {
            let rest = &target[scheme.len() + 3..];
            &rest[rest.iter().take_while(|byte| **byte != b'/').count()..]
        }
        _ => target,
    }
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
}

/// The slow, obvious way: every template that fits, then the most specific of them.
fn best<'d>(declared: &'d [(String, String)], method: &[u8], path: &[u8]) -> Option<&'d str> {
    if path == b"*" {
        return None;
    }
    let path: Vec<&[u8]> = segments(path).collect();
    let fitting = declared.iter().filter_map(|(name, template)| {
        let (wanted, pattern) = template.split_once(' ')?;
        let pattern: Vec<&[u8]> = segments(pattern.trim_start().as_bytes()).collect();
        let ranks: Vec<u8> = pattern.iter().map(|segment| rank(segment)).collect();
        let any = wanted == "ANY";
        ((any || wanted.as_bytes() == method) && fits(&pattern, &path)).then_some((ranks, any, name))
    });
    fitting.min().map(|(.., name)| name.as_str())
}

/// How specific a segment of a template is; the lowest wins.
fn rank(segment: &[u8]) -> u8 {
    match segment {
        b"**" => 2,
        b"*" | [b':', ..] => 1,
        _ => 0,
    }
}

fn fits(template: &[&[u8]], path: &[&[u8]]) -> bool {
    match (template, path) {
        ([], []) | ([b"**"], _) => true,
        ([first, template @ ..], [segment, path @ ..]) => {
            (rank(first) == 1 || first == segment) && fits(template, path)
        }
        _ => false,
    }
}
