//! What stands around the program in a line of a crontab and in its file, and is in no job of ours: the
//! user, what is put before the program, where its output goes, who gets it by mail. All of it is
//! named, by names alone: other words may hold secrets. Which options the program has, `import` knows.

/// Programs that run another one with something changed for it.
const WRAPPERS: [&str; 16] = [
    "nice",
    "ionice",
    "flock",
    "timeout",
    "chronic",
    "sudo",
    "nohup",
    "setsid",
    "time",
    "chrt",
    "taskset",
    "systemd-run",
    "systemd-inhibit",
    "setlock",
    "runuser",
    "su",
];

/// Programs that only start another one.
const STARTERS: [&str; 6] = ["env", "sh", "bash", "dash", "perl", "exec"];

/// Programs of which a line's first word is no user.
const OTHERS: [&str; 8] = ["cd", "ssh", "test", "[", "sleep", "mountpoint", "export", "set"];

/// Which form the lines of a file have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `/etc/crontab` and `/etc/cron.d`: a user stands before the command.
    System,
    /// A user's own crontab: there is none.
    Personal,
}

/// Takes the user off the first command of a line, where there is one.
pub fn user(form: Form, commands: &mut [Vec<String>]) -> Option<String> {
    let first = commands.first_mut()?;
    let word = first.first()?;
    let is_name = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let is_program = [&WRAPPERS[..], &STARTERS, &OTHERS].concat().contains(&word.as_str());
    let is_user = form == Form::System && first.len() > 1 && is_name && !is_program;
    // A copy of root's own crontab is of the other form, and has no user before its program.
    (is_user && !super::tools::is_tool(word)).then(|| first.remove(0))
}

/// Why what stands before the program makes it something that no job of this node is.
pub fn refusal(before: &[String]) -> Option<String> {
    let is_remote = before.iter().any(|word| ["ssh", "rsh"].contains(&base(word)));
    is_remote.then(|| {
        "it runs on another machine, over ssh: make it there, or with `pve-ferry job create --node`"
            .to_owned()
    })
}

/// What is left out of a job, for its user to know.
#[derive(Debug, Default)]
pub struct Around<'a> {
    /// Who ran it, where that is said.
    pub user: Option<String>,
    /// The words before the program, in its command.
    pub before: &'a [String],
    /// Where what it said was written.
    pub outputs: &'a [String],
    /// Who got it by mail.
    pub mailto: Option<String>,
}

impl Around<'_> {
    /// All of it, in words.
    pub fn notes(&self) -> Vec<String> {
        let user = self.user.as_ref().filter(|user| *user != "root");
        let mut notes: Vec<String> = user
            .map(|user| format!("it ran as the user {user}; here it runs as root"))
            .into_iter()
            .collect();
        let before = self.before_names();
        if !before.is_empty() {
            let names = before.join(", ");
            notes.push(format!("what stands before the program is left out: {names}"));
        }
        if !self.outputs.is_empty() {
            notes.push(format!(
                "what it says is not written to {}: a run prints only when something is wrong, and cron mails that",
                self.outputs.join(", ")
            ));
        }
        notes.extend(self.mailto.as_ref().map(|to| {
            format!("MAILTO={to} does not hold for it: `job set NAME --mail` or notify.cfg says who is mailed")
        }));
        notes
    }

    fn before_names(&self) -> Vec<String> {
        let known = |word: &&str| WRAPPERS.contains(word);
        let words = self.before.iter().map(|word| base(word));
        let mut names: Vec<String> = words.filter(known).map(str::to_owned).collect();
        let variables = self.before.iter().filter_map(|word| word.split_once('='));
        let is_variable = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        names.extend(variables.filter(|(name, _)| is_variable(name)).map(|(n, _)| format!("{n}=")));
        let first = self.before.first().map(|word| base(word));
        let unknown = first.filter(|first| names.is_empty() && !STARTERS.contains(first));
        names.extend(unknown.map(str::to_owned));
        names
    }
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Who gets mail of a line, as the nearest `MAILTO` above it says; nobody else than root is named.
pub fn mailto(text: &str, number: usize) -> Option<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "MAILTO").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let nearest = text.lines().take(number).filter_map(value).last();
    nearest.filter(|to| !to.is_empty() && to != "root")
}
