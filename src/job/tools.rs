//! The older tools whose lines in crontabs can become jobs: how each is called, and which options it
//! has. Reads no line: that is `import`.

/// An older tool: the names of its program, its commands, its options.
pub(super) struct Tool {
    /// Names of its program.
    pub names: &'static [&'static str],
    /// Its commands that a job may be made of, each with our operation.
    pub commands: &'static [(&'static str, &'static str)],
    /// Its options that have a value.
    pub with_value: &'static [&'static str],
    /// Its options that have none.
    pub flags: &'static [&'static str],
    /// Options that hold a secret.
    pub secrets: &'static [&'static str],
    /// What stands between an option and its value, besides a blank.
    pub separators: &'static [char],
    /// Whether the words of a file may take the place of `@FILE`.
    pub files: bool,
}

/// All of them.
pub(super) const TOOLS: [Tool; 3] = [
    Tool {
        names: &["eve4pve-barc", "cv4pve-barc"],
        commands: &[("backup", "backup")],
        with_value: &[
            "vmid",
            "label",
            "path",
            "keep",
            "renew",
            "retain",
            "cksum",
            "ckmethod",
            "iothreads",
            "compress",
            "compressthreads",
            "script",
            "mail",
        ],
        flags: &["qemu-freeze", "unprotect-snap", "syslog", "debug", "dry-run"],
        secrets: &[],
        separators: &['='],
        files: false,
    },
    Tool {
        names: &["crossover"],
        commands: &[("mirror", "mirror")],
        with_value: &[
            "jobname",
            "vmid",
            "tag",
            "prefixid",
            "excludevmids",
            "destination",
            "pool",
            "keeplocal",
            "keepremote",
            "rewrite",
            "sshcipher",
            "influxurl",
            "influxorg",
            "influxtoken",
            "influxbucket",
            "mail",
        ],
        flags: &[
            "online",
            "migrate",
            "noconfirm",
            "nolock",
            "keep-slock",
            "keep-dlock",
            "overwrite",
            "debug",
            "dry-run",
            "syslog",
        ],
        secrets: &["influxtoken"],
        separators: &['='],
        files: false,
    },
    Tool {
        names: &["cv4pve-autosnap", "eve4pve-autosnap"],
        commands: &[("snap", "snapshot"), ("clean", "snapshot-prune")],
        with_value: &[
            "host",
            "api-token",
            "username",
            "password",
            "vmid",
            "timeout",
            "timestamp-format",
            "max-perc-storage",
            "label",
            "keep",
            "script",
            "script-hook",
        ],
        flags: &["validate-certificate", "state", "only-running", "debug", "dry-run"],
        secrets: &["api-token", "password"],
        separators: &['=', ':'],
        files: true,
    },
];

/// Whether a word is the program of an older tool, with or without its directory.
pub(super) fn is_tool(word: &str) -> bool {
    TOOLS.iter().any(|tool| tool.is_program(word))
}

impl Tool {
    /// Whether a word starts it, with or without its directory.
    pub fn is_program(&self, word: &str) -> bool {
        let base = word.rsplit('/').next().unwrap_or(word);
        self.names.contains(&base.trim_end_matches(".sh"))
    }
}
