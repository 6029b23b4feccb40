//! The structure of the crate, checked: layers, doors to the outside, sizes, module docs. What a
//! newcomer may rely on stands here and not only in a page.
// A test that cannot read what it checks has failed: a panic says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pve_ferry::model::OperationKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules in their layers; a module may use its own layer and those before it.
const LAYERS: [&[&str]; 5] = [
    &["model", "report"],
    &["select", "retention", "pve_config", "plan", "stream", "job", "schema"],
    &[
        "cancel",
        "clock",
        "entropy",
        "progress",
        "secret",
        "hooks",
        "notify",
        "stall",
        "throttle",
        "transport",
        "waits",
        "storage",
        "repository",
        "pve",
        "node",
    ],
    &["cluster", "context", "survey", "assemble", "audit", "execute", "operation", "run", "told"],
    &["cli", "main"],
];

/// Who must not know whom, although its layer lets it. What is random is drawn before a plan is made, and
/// stands in it.
const STRANGERS: [(&str, &[&str]); 9] = [
    ("hooks", &["storage", "repository", "pve", "plan"]),
    ("notify", &["storage", "repository", "pve", "plan"]),
    ("node", &["storage", "repository", "plan"]),
    ("storage", &["repository", "pve", "plan"]),
    ("repository", &["storage", "pve", "plan", "transport"]),
    ("stream", &["plan", "select"]),
    ("transport", &["storage", "repository", "pve", "plan"]),
    ("survey", &["entropy"]),
    ("execute", &["entropy"]),
];

/// What the first two layers and the plain drivers must not use.
const IMPURE: [&str; 9] = [
    "std::process",
    "std::fs",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant::now",
    "tokio",
    "getrandom",
    "std::thread",
];

struct Source {
    path: PathBuf,
    /// The module below `src/` that the file belongs to.
    module: String,
    /// The text before its tests.
    code: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    assert!(paths.len() > 50, "the sources were not found");
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
            let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let is_test_file = path.file_name().is_some_and(|n| n == "tests.rs");
            let end = if is_test_file {
                0
            } else {
                let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\n#[allow("];
                tests.iter().filter_map(|begin| text.find(begin)).min().unwrap_or(text.len())
            };
            Source { path, module, code: text[..end].to_owned(), text }
        })
        .collect()
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|e| e == "rs") {
            paths.push(path);
        }
    }
}

/// Collects what `look` finds wrong in the sources and fails with all of it.
fn check(look: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            let name = source.path.display().to_string();
            look(source).into_iter().map(move |what| format!("{name}: {what}"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn code_lines(source: &Source) -> impl Iterator<Item = &str> {
    source.code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn used_modules(line: &str) -> Vec<&str> {
    let words = line.match_indices("crate::").map(|(at, _)| &line[at + 7..]);
    words
        .map(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or(""))
        .filter(|module| layer(module).is_some())
        .collect()
}

#[test]
fn every_module_has_a_layer() {
    check(|source| match layer(&source.module) {
        Some(_) => vec![],
        None if source.module == "lib" => vec![],
        None => vec![format!("module {} stands in no layer of tests/tidy.rs", source.module)],
    });
}

#[test]
fn a_layer_uses_only_layers_above_it() {
    check(|source| {
        let Some(own) = layer(&source.module) else { return vec![] };
        let uses = code_lines(source).flat_map(|line| used_modules(line));
        uses.filter(|used| layer(used).is_some_and(|layer| layer > own))
            .map(|used| format!("uses {used} of a lower layer"))
            .collect()
    });
}

#[test]
fn strangers_stay_strangers() {
    let strangers: BTreeMap<&str, &[&str]> = STRANGERS.into_iter().collect();
    check(|source| {
        let Some(unknown) = strangers.get(source.module.as_str()) else { return vec![] };
        code_lines(source)
            .flat_map(|line| used_modules(line))
            .filter(|used| unknown.contains(used))
            .map(|used| format!("must not know {used}"))
            .collect()
    });
}

#[test]
fn decisions_are_pure() {
    check(|source| {
        if layer(&source.module).is_none_or(|layer| layer > 1) {
            return vec![];
        }
        let impure = |line: &str| IMPURE.iter().find(|word| line.contains(**word)).copied();
        code_lines(source).filter_map(impure).map(|word| format!("uses {word}")).collect()
    });
}

#[test]
fn repository_and_stream_need_no_runtime() {
    check(|source| {
        let plain = matches!(source.module.as_str(), "repository" | "stream");
        let uses = code_lines(source).any(|line| line.contains("tokio") || line.contains("async "));
        if plain && uses { vec!["is async".into()] } else { vec![] }
    });
}

/// What a repository holds may come from a stranger: whoever opened a file of it past the door would
/// follow its links and wait for its FIFOs.
#[test]
fn the_files_of_a_repository_have_one_door() {
    const PAST_IT: [&str; 13] = [
        "File::open(",
        "File::create",
        "File::options(",
        "OpenOptions",
        "fs::metadata(",
        "fs::symlink_metadata(",
        "fs::read",
        "fs::write(",
        "fs::remove",
        "fs::rename(",
        "fs::create_dir",
        "fs::canonicalize(",
        "DirBuilder",
    ];
    check(|source| {
        let may = |part: std::path::Component<'_>| {
            part.as_os_str() == "disk" || part.as_os_str() == "tests"
        };
        let below = source.path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        if source.module != "repository" || below.unwrap().components().any(may) {
            return vec![];
        }
        // What the kernel tells of processes is no file of a repository.
        let is_past =
            |line: &&str| !line.contains("\"/proc/") && !line.contains("\"/etc/machine-id");
        let past = code_lines(source).filter(is_past);
        let past = past.filter(|line| PAST_IT.iter().any(|word| line.contains(word)));
        past.map(|line| format!("opens past repository/disk: {}", line.trim())).collect()
    });
}

/// Types derive their schema where they stand; what is made of schemas has one door.
#[test]
fn schemas_are_made_in_one_place() {
    check(|source| {
        let is_door = source.module == "schema" || source.path.ends_with("model/mod.rs");
        let derives = |line: &str| {
            let line = line.trim();
            line == "use schemars::JsonSchema;"
                || line.starts_with("#[schemars(")
                || (line.contains("schemars::JsonSchema") && line.contains("Serialize"))
        };
        let others = code_lines(source).filter(|line| line.contains("schemars") && !derives(line));
        if is_door { vec![] } else { others.map(|line| format!("uses schemars: {line}")).collect() }
    });
}

#[test]
fn processes_start_in_one_file_and_quoting_stands_in_one_file() {
    check(|source| {
        let is = |name: &str| source.path.ends_with(name);
        let mut found = Vec::new();
        for line in code_lines(source) {
            if line.contains("Command::new(") && !is("transport/local.rs") {
                found.push("starts a process".to_owned());
            }
            if line.contains("shell") && line.contains("quote") && !is("transport/ssh.rs") {
                found.push("quotes for a shell".to_owned());
            }
            if line.contains("SystemTime::now") && !is("src/clock.rs") {
                found.push("reads the wall clock".to_owned());
            }
        }
        found
    });
}

/// What a command did is returned to whoever started it: a flag of the whole program would be that of
/// another command, too, once one runs two.
#[test]
fn no_command_leaves_in_a_static_what_it_did() {
    check(|source| {
        let is_known = ["src/cli/output.rs", "src/cli/told/slip.rs"];
        let is_known = is_known.iter().any(|path| source.path.ends_with(path));
        let keeps = |line: &&str| ["Mutex<", "Atomic"].iter().any(|word| line.contains(word));
        let statics = code_lines(source).filter(|line| line.contains("static ")).filter(keeps);
        if source.module != "cli" || is_known {
            return vec![];
        }
        statics.map(|line| format!("keeps something for others: {}", line.trim())).collect()
    });
}

/// A wait that is said somewhere else stands on a terminal and in no list of jobs.
#[test]
fn waits_are_said_in_one_place() {
    check(|source| {
        let is_place = source.path.ends_with("src/waits.rs");
        let says = |line: &&str| line.contains("target: WAITING") || line.contains("\"waits for {");
        let said = code_lines(source).filter(|line| !is_place && says(line));
        said.map(|line| format!("says a wait: {}", line.trim())).collect()
    });
}

/// A new operation that a comparison does not know would be treated as another one, in silence.
#[test]
fn names_of_operations_are_compared_in_one_table() {
    let names = OperationKind::ALL.into_iter().map(|kind| kind.row());
    let names: Vec<String> = names
        .flat_map(|row| std::iter::once(row.name).chain(row.job))
        .map(|name| format!("\"{name}\""))
        .collect();
    check(|source| {
        if source.path.ends_with("src/model/operation.rs") {
            return vec![];
        }
        let compares = |line: &&str| names.iter().any(|name| compares(line, name));
        let found = code_lines(source).filter(compares);
        found.map(|line| format!("compares the name of an operation: {}", line.trim())).collect()
    });
}

/// A run under a name that the table does not have would be taken for none that is known, in silence.
#[test]
fn whatever_is_done_is_done_under_a_name_of_the_table() {
    let heads = ["operation: \"", "Report::new(\"", "subject(\""];
    let seen = std::sync::atomic::AtomicUsize::new(0);
    check(|source| {
        let named = |line| heads.iter().filter_map(move |head| after(line, head));
        let names = code_lines(source).flat_map(named);
        let names = names.inspect(|_| _ = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        // What starts the commands of jobs tells under a name of its own why none runs.
        let unknown =
            names.filter(|name| OperationKind::named(name).is_none() && *name != "job run");
        unknown.map(|name| format!("{name:?} stands in no row of the table")).collect()
    });
    assert!(seen.into_inner() > 0, "the names were not found");
}

/// The rest of a literal whose begin is known.
fn after<'a>(line: &'a str, head: &str) -> Option<&'a str> {
    line.split_once(head)?.1.split_once('"').map(|(name, _)| name)
}

/// Whether a line of code compares something with a literal, or has it in a pattern.
fn compares(line: &str, literal: &str) -> bool {
    let open = &literal[..literal.len() - 1];
    let pattern = line.split_once("=>").map_or("", |(pattern, _)| pattern);
    let tests = [
        format!("== {literal}"),
        format!("!= {literal}"),
        format!("{literal} =="),
        format!("{literal} !="),
        format!("{literal} |"),
        format!("starts_with({open}"),
        format!("ends_with({open}"),
        format!("contains(&{literal}"),
    ];
    tests.iter().any(|test| line.contains(test))
        || pattern.contains(literal)
        || line.trim_start().starts_with(&format!("| {literal}"))
        || (line.contains("matches!(") && line.contains(literal))
}

#[test]
fn a_comparison_with_a_name_is_seen_in_each_of_its_forms() {
    for line in [
        "if job.operation == \"copy\" {",
        "if \"copy\" != name {",
        "    \"copy\" => true,",
        "    (\"copy\", _) if x => true,",
        "    | \"copy\"",
        "matches!(name, \"prune\" | \"copy\")",
        "name.starts_with(\"copy\")",
        "[\"a\"].contains(&\"copy\")",
    ] {
        assert!(compares(line, "\"copy\""), "{line}");
    }
    for line in ["    Self::Copy => \"copy\",", "x(\"copy\", |_| 1)", "map(|_| \"copy\")"] {
        assert!(!compares(line, "\"copy\""), "{line}");
    }
}

#[test]
fn a_survey_only_reads() {
    const CHANGES: [&str; 12] = [
        "create_snapshot",
        "delete_snapshot",
        "create_volume",
        "delete_volume",
        ".import(",
        ".freeze(",
        ".thaw(",
        ".start(",
        "write_config",
        "Command::writes",
        "Request::post",
        "Request::delete",
    ];
    check(|source| {
        if source.module != "survey" {
            return vec![];
        }
        let change = |line: &str| CHANGES.iter().find(|word| line.contains(**word)).copied();
        code_lines(source).filter_map(change).map(|word| format!("calls {word}")).collect()
    });
}

/// Guests of another cluster have neither files nor commands here.
#[test]
fn guests_are_asked_through_one_door() {
    const PAST_IT: [&str; 6] = [
        "files.find(",
        ".guests_with_configs(",
        ".read_config(",
        ".read_firewall(",
        "hosts.host(",
        "GuestControl {",
    ];
    check(|source| {
        if !matches!(source.module.as_str(), "survey" | "execute" | "operation" | "run") {
            return vec![];
        }
        let past = code_lines(source).filter(|line| PAST_IT.iter().any(|word| line.contains(word)));
        let past = past.filter(|line| !line.contains("-> "));
        past.map(|line| format!("asks past cluster/guests.rs: {}", line.trim())).collect()
    });
}

#[test]
fn every_file_says_what_it_is_for() {
    check(|source| {
        if source.text.starts_with("//! ") {
            vec![]
        } else {
            vec!["no //! on its first line".into()]
        }
    });
}

#[test]
fn files_are_rooms_not_halls() {
    check(|source| {
        let lines = source.code.lines().count();
        if lines > 400 {
            vec![format!("{lines} lines without its tests, 400 at most")]
        } else {
            vec![]
        }
    });
}

#[test]
fn functions_are_short() {
    check(|source| {
        let lines: Vec<&str> = source.code.lines().collect();
        (0..lines.len())
            .filter_map(|start| function_length(&lines, start))
            .filter(|(_, length)| *length > 80)
            .map(|(name, length)| format!("{name} has {length} lines, 80 at most"))
            .collect()
    });
}

/// The name and the length of the function that begins in line `start`; rustfmt puts its last
/// brace under its first word.
fn function_length<'a>(lines: &[&'a str], start: usize) -> Option<(&'a str, usize)> {
    let line = lines[start];
    let indent = line.len() - line.trim_start().len();
    let words = line.trim_start();
    let is_function = [
        "fn ",
        "pub fn ",
        "async fn ",
        "pub async fn ",
        "pub(super) fn ",
        "pub(super) async fn ",
        "pub(crate) fn ",
    ]
    .iter()
    .any(|head| words.starts_with(head));
    if !is_function {
        return None;
    }
    let closing = format!("{}}}", " ".repeat(indent));
    let length = lines[start..].iter().position(|line| *line == closing)?;
    Some((words.split('(').next().unwrap_or(words), length + 1))
}

#[test]
fn nothing_is_left_open_and_no_test_is_switched_off() {
    // Written in two parts, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"], ["#[igno", "re"], ["should_", "panic"]];
    let marks: Vec<String> = marks.iter().map(|parts| parts.concat()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    ["src", "tests", "benches"].iter().for_each(|dir| walk(&root.join(dir), &mut paths));
    paths.retain(|path| !path.components().any(|part| part.as_os_str() == "target"));
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let mark = marks.iter().find(|mark| text.contains(mark.as_str()));
        found.extend(mark.map(|mark| format!("{}: {mark}", path.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Where foreign code is called, or something is said to the kernel between fork and exec.
fn bridge(source: &Source) -> bool {
    let is = |name: &str| source.path.ends_with(name);
    source.module == "perl" || is("storage/rbd/librados.rs") || is("transport/bound.rs")
}

#[test]
fn unsafe_code_stands_only_in_the_bridge_and_where_a_c_library_is_called() {
    check(|source| {
        let uses = code_lines(source).any(|line| line.contains("unsafe "));
        if uses && !bridge(source) { vec!["unsafe".into()] } else { vec![] }
    });
}

/// The verbs of the actions in a file: each opens a pair, as in `("create snapshot", ...`.
fn verbs(code: &str) -> Vec<&str> {
    let words = code.split("fn words").nth(1).unwrap_or("");
    let words = words.split("\n    }\n").next().unwrap();
    words
        .match_indices("(\"")
        .map(|(at, _)| &words[at + 2..])
        .filter_map(|rest| rest.split_once('"'))
        .filter(|(_, after)| after.starts_with(", "))
        .map(|(verb, _)| verb)
        .filter(|verb| !verb.contains('{'))
        .collect()
}

#[test]
fn every_action_stands_in_a_golden_plan() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut golden = String::new();
    for entry in std::fs::read_dir(root.join("tests/plan/cases")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        golden.push_str(text.split("---\n").nth(1).unwrap());
    }
    let is_noun = |source: &&Source| {
        let path = &source.path;
        let is_action = path.parent().is_some_and(|directory| directory.ends_with("plan/action"));
        (is_action && !path.ends_with("mod.rs")) || path.ends_with("plan/repair.rs")
    };
    let sources = sources();
    let nouns: Vec<Vec<&str>> =
        sources.iter().filter(is_noun).map(|source| verbs(&source.code)).collect();
    assert!(nouns.len() >= 6 && nouns.iter().all(|verbs| verbs.len() >= 4), "{nouns:?}");
    let missing: Vec<&&str> =
        nouns.iter().flatten().filter(|verb| !golden.contains(**verb)).collect();
    assert!(missing.is_empty(), "no golden plan has {missing:?}");
}

#[test]
fn the_frozen_scope_knows_no_hook() {
    check(|source| {
        let is_scope = source.path.ends_with("execute/freeze.rs");
        let calls = code_lines(source).any(|line| line.contains("hook"));
        if is_scope && calls { vec!["calls a hook inside the freeze".into()] } else { vec![] }
    });
}
