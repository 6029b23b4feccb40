//! The completions as a shell uses them: a real bash is asked. Not what the options mean.

use crate::env::Env;
use std::process::Command;

/// What bash offers for a line, of which the last word is being typed.
fn offered(script: &str, words: &[&str]) -> Vec<String> {
    let ask = r#"
        . "$1"; shift
        function=$(complete -p pve-ferry); function=${function#*-F }; function=${function%% *}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "$function" pve-ferry "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ask, "bash", script, "pve-ferry"]).args(words);
    let said = bash.output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The script of bash in a file.
fn script(env: &Env) -> String {
    let path = env.path("completions.bash");
    std::fs::write(&path, env.run("completions bash").exits(0).stdout).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The commands that the help of a command lists.
fn commands(env: &Env, above: &str) -> Vec<String> {
    let help = env.run(&format!("{above} --help")).exits(0).stdout;
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn bash_completes_the_options_of_every_command_that_the_help_shows() {
    let env = Env::new();
    let script = script(&env);
    let all = commands(&env, "");
    assert!(all.len() > 15, "{all:?}");
    for command in &all {
        let found = offered(&script, &[command, "--he"]);
        assert_eq!(found, ["--help"], "{command}");
        for below in commands(&env, command) {
            assert_eq!(
                offered(&script, &[command, &below, "--he"]),
                ["--help"],
                "{command} {below}"
            );
        }
    }
    assert_eq!(offered(&script, &["backup", "--compress-"]), [""; 0]);
    assert_eq!(offered(&script, &["backup", "--comp"]), ["--compress"]);
    for word in ["create", "set"] {
        assert_eq!(offered(&script, &["job", word, "--sched"]), ["--schedule"], "{word}");
        assert_eq!(offered(&script, &["job", word, "--lab"]), ["--label"], "{word}");
    }
}

#[test]
fn bash_completes_the_words_of_an_option_that_has_a_choice() {
    let env = Env::new();
    let script = script(&env);
    assert_eq!(offered(&script, &["backup", "--mail-when", ""]), ["always", "failure", "change"]);
    assert_eq!(offered(&script, &["backup", "--hook-compat", "b"]), ["barc"]);
    assert_eq!(offered(&script, &["completions", "ba"]), ["bash"]);
}

#[test]
fn no_shell_offers_what_the_help_hides() {
    let env = Env::new();
    let script = script(&env);
    assert_eq!(offered(&script, &["ve"]), ["verify", "version"]);
    for hidden in ["ask", "man"] {
        assert_eq!(offered(&script, &[hidden]), [""; 0]);
    }
    for shell in ["bash", "zsh", "fish"] {
        let text = env.run(&format!("completions {shell}")).exits(0).stdout;
        for hidden in ["ask-ceph", "man-pages", "job-name"] {
            assert!(!text.contains(hidden), "{shell} offers {hidden}");
        }
        assert!(text.contains("assemble"), "{shell}");
    }
}
