//! No circles among the files of a module: which file `use`s which is a graph without a way back.
//!
//! A name that a file takes from its parent's `use` or `pub use` is counted as taken from the file that has it. Tests are not
//! looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;

/// Modules that still have circles. One that has lost its circles has to be removed here.
const WITH_CIRCLES: &[&str] =
    &["algorithm", "app", "cli", "clock", "config", "engine", "explain", "policy", "policy_test", "store"];

/// A file by its place in the tree of modules: `["subjects", "read"]`.
type File = Vec<String>;

/// One name that a file imports: the path to it, and what it is called there.
struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

struct Source {
    imports: Vec<Import>,
    /// Paths in its code that begin with `super`, `self`, `crate` or a file below it.
    mentioned: Vec<Vec<String>>,
}

#[derive(Default)]
struct Sources(BTreeMap<File, Source>);

fn words(path: &str) -> Vec<String> {
    path.split("::").map(|part| part.trim().to_owned()).collect()
}

/// `a::{b, c::{d, e as f}}` as the paths that it stands for.
fn expanded(before: &str, text: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = text.split_once('{') else {
        return paths.push(format!("{before}{}", text.trim()));
    };
    let body = rest.rsplit_once('}').map_or(rest, |(body, _)| body);
    let (mut depth, mut start) = (0_usize, 0);
    let before = format!("{before}{}", head.trim());
    for (at, byte) in body.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let one = body[start..at].trim();
                start = at + 1;
                if !one.is_empty() {
                    expanded(&before, one, paths);
                }
            }
            _ => {}
        }
    }
}

impl Source {
    fn read(text: &str) -> Self {
        let code = text.split("mod tests {").next().unwrap();
        let code: Vec<_> = code.lines().map(|line| line.split("//").next().unwrap()).collect();
        let (mut imports, mut rest) = (Vec::new(), String::new());
        let mut lines = code.iter();
        while let Some(line) = lines.next() {
            let line = line.trim_start();
            let (visibility, import) = match line.split_once("use ") {
                Some((before, import)) if before.is_empty() || before.starts_with("pub") => (before, import),
                _ => {
                    rest += line;
                    rest.push('\n');
                    continue;
                }
            };
            let mut import = import.to_owned();
            while !import.contains(';') {
                let Some(next) = lines.next() else { break };
                import += next;
            }
            let mut paths = Vec::new();
            expanded("", import.split(';').next().unwrap(), &mut paths);
            imports.extend(paths.iter().map(|path| {
                let (path, name) = path.split_once(" as ").unwrap_or((path, ""));
                let path = words(path);
                let name = if name.is_empty() { path.last().unwrap().clone() } else { name.to_owned() };
                Import { path, name, is_public: !visibility.is_empty() }
            }));
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let mentioned = rest.split(|c: char| !is_word(c)).filter(|path| path.contains("::"));
        Self { imports, mentioned: mentioned.map(|path| words(path.trim_matches(':'))).collect() }
    }
}

impl Sources {
    fn below(directory: &FilePath, place: &File, sources: &mut Self) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                Self::below(&entry.path(), &[&place[..], &[name]].concat(), sources);
            } else if let Some(stem) = name.strip_suffix(".rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                sources.add(&place.join("/"), stem, &text);
            }
        }
    }

    fn add(&mut self, directory: &str, stem: &str, text: &str) {
        let mut file: File =
            directory.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if stem != "mod" {
            file.push(stem.to_owned());
        }
        let is_left_out = matches!(stem, "main" | "lib") || file.iter().any(|part| part == "tests");
        if !is_left_out {
            self.0.insert(file, Source::read(text));
        }
    }

    /// The file that has what `path` names in `file`, if that is a file of the same module.
    fn owner(&self, file: &File, path: &[String], depth: usize) -> Option<File> {
        let (mut owner, mut path) = match path.first()?.as_str() {
            "crate" => (File::new(), &path[1..]),
            "self" => (file.clone(), &path[1..]),
            "super" => (file[..file.len() - 1].to_vec(), &path[1..]),
            child => {
                let below = [&file[..], &[child.to_owned()]].concat();
                self.0.contains_key(&below).then_some((file.clone(), path))?
            }
        };
        while let Some(next) = path.first() {
            let below = [&owner[..], std::slice::from_ref(next)].concat();
            if !self.0.contains_key(&below) {
                break;
            }
            (owner, path) = (below, &path[1..]);
        }
        let source = self.0.get(&owner).filter(|_| owner[0] == file[0])?;
        if let (Some(name), true) = (path.first(), depth < 8) {
            let named = source.imports.iter().filter(|import| import.name == *name);
            let named = named.map(|import| import.path.clone());
            let globs = source.imports.iter().filter(|import| import.is_public && import.name == "*");
            let globs = globs
                .map(|import| [&import.path[..import.path.len() - 1], std::slice::from_ref(name)].concat());
            if let Some(further) = named.chain(globs).find_map(|path| self.owner(&owner, &path, depth + 1)) {
                return Some(further);
            }
        }
        Some(owner)
    }

    /// The files of its module that `file` needs. What it exports only is not among them.
    fn needed(&self, file: &File) -> BTreeSet<File> {
        let source = &self.0[file];
        let imports = source.imports.iter().filter(|import| !import.is_public).map(|import| &import.path);
        let owners = imports.chain(&source.mentioned).filter_map(|path| self.owner(file, path, 0));
        owners.filter(|owner| owner != file).collect()
    }

    /// For each module the files that can be reached from themselves, as `a.rs -> b.rs, c.rs`.
    fn circles(&self) -> BTreeMap<&str, Vec<String>> {
        let needed: BTreeMap<_, _> = self.0.keys().map(|file| (file, self.needed(file))).collect();
        let reached = |from: &File| {
            let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(file) = open.pop() {
                open.extend(needed[file].iter().filter(|next| reached.insert((*next).clone())));
            }
            reached
        };
        let reached: BTreeMap<_, _> = self.0.keys().map(|file| (file, reached(file))).collect();
        let mut circles: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (file, _) in reached.iter().filter(|(file, reached)| reached.contains(**file)) {
            let back = needed[file].iter().filter(|next| reached[next].contains(*file));
            let back: Vec<_> = back.map(|next| next.join("/")).collect();
            circles.entry(&file[0]).or_default().push(format!("{} -> {}", file.join("/"), back.join(", ")));
        }
        circles
    }
}

#[test]
fn files_of_a_module_go_in_no_circle() {
    let mut sources = Sources::default();
    Sources::below(FilePath::new("src"), &File::new(), &mut sources);
    assert!(sources.0.len() > 100, "only {} files found", sources.0.len());
    let circles = sources.circles();
    for (module, files) in &circles {
        assert!(WITH_CIRCLES.contains(module), "a circle of files in `{module}`:\n{}", files.join("\n"));
    }
    for module in WITH_CIRCLES {
        assert!(
            circles.contains_key(module),
            "`{module}` has no circle any more: remove it from WITH_CIRCLES"
        );
    }
}

#[test]
fn planted_circles_are_found() {
    let circles = |files: &[(&str, &str, &str)]| {
        let mut sources = Sources::default();
        for (directory, stem, text) in files {
            sources.add(directory, stem, text);
        }
        sources.circles().into_values().flatten().collect::<Vec<_>>()
    };
    let facade = ("m", "mod", "mod a;\nmod b;\npub use a::One;\npub use b::{Two, Three as Four};");
    for (a, b) in [
        ("use super::b::Two;", "use super::a::One;"),
        ("use super::Four;", "fn f() -> crate::m::One { todo() }"),
        ("use crate::m::{\n    Two,\n};", "use super::One;\nmod tests {}"),
    ] {
        assert_eq!(
            circles(&[facade, ("m", "a", a), ("m", "b", b)]),
            ["m/a -> m/b", "m/b -> m/a"],
            "{a}\n{b}"
        );
    }
    for (a, b) in [
        ("use super::b::Two;", "struct Two;"),
        ("use super::Two;", "mod tests { use super::super::One; }"),
        ("use super::Two;", "use crate::other::One; // super::One"),
    ] {
        assert!(circles(&[facade, ("m", "a", a), ("m", "b", b)]).is_empty(), "{a}\n{b}");
    }
    let parent = ("m", "mod", "mod a;\nuse a::One;\nstruct Own;");
    assert_eq!(circles(&[parent, ("m", "a", "use super::Own;")]), ["m -> m/a", "m/a -> m"]);
}
