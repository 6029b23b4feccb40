//! The nodes of the cluster as commands see them: guests that run, freeze and thaw. Strict: a command
//! that is not listed here fails the run. The guards of freezes stand in `guard.rs`.

use super::events::Events;
use pve_ferry::transport::{Answer, Partner, Script};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a command goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFault {
    /// It fails without having done anything.
    Fails,
    /// It does its work, and its answer is lost.
    Lost,
    /// It does nothing until its deadline.
    Hangs,
    /// It does its work and answers too late.
    Late,
    /// It does nothing and prints what nobody understands.
    Odd,
}

impl CommandFault {
    pub const ALL: [Self; 5] = [Self::Fails, Self::Lost, Self::Hangs, Self::Late, Self::Odd];
}

/// What comes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Prints(String),
    Fails(i32, String),
    Hangs,
}

impl Reply {
    fn prints(text: impl Into<String>) -> Self {
        Self::Prints(text.into())
    }

    fn fails(status: i32, text: &str) -> Self {
        Self::Fails(status, text.to_owned())
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Prints(text) => Self::prints(text),
            Reply::Fails(status, text) => Self::fails(status, &text),
            Reply::Hangs => Self::hangs(),
        }
    }
}

/// A guest as its node knows it.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    pub running: bool,
    /// The number of file systems, where an agent answers.
    pub agent: Option<u64>,
    pub frozen: Option<u64>,
    /// The number that a thaw tells, where it is not the truth.
    pub thaw_tells: Option<u64>,
    /// What the agent says in place of answering the freeze, the thaw.
    pub refuses: BTreeMap<&'static str, &'static str>,
    /// Seconds that a freeze takes; the agent does nothing else meanwhile.
    pub freeze_takes: u64,
    /// Whether it is freezing.
    pub is_busy: bool,
    /// The only node whose commands reach its agent; every node's while there is none.
    pub place: Option<&'static str>,
}

impl Inside {
    /// From now on its agent says this instead of answering such a command.
    pub fn refuse(&mut self, word: &'static str, text: &'static str) {
        self.refuses.insert(word, text);
    }
}

#[derive(Default)]
struct State {
    guests: BTreeMap<u32, Inside>,
    systemd: bool,
    /// The guards that live, by their names and nodes, with their guests.
    guards: BTreeMap<(String, String), u32>,
    /// The guards that were killed since they began.
    killed: Vec<String>,
    commands: usize,
    fault: Option<(usize, CommandFault)>,
    hit: Option<String>,
}

/// All nodes of the cluster.
pub struct Node {
    state: Mutex<State>,
    events: Arc<Events>,
}

impl Node {
    pub fn new(events: Arc<Events>) -> Arc<Self> {
        let state = State { systemd: true, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), events })
    }

    /// The host that answers as the node of this name.
    pub fn script_of(self: &Arc<Self>, name: &str) -> Arc<Script> {
        let (script, node, name) = (Script::new(), self.clone(), name.to_owned());
        let (guarding, place) = (self.clone(), name.clone());
        script.reply("", move |command| node.answer(&name, &command.argv()).into());
        script.talk(move |command, partner| guarding.guard(&place, &command.argv(), partner));
        script
    }

    pub fn set(&self, vmid: u32, change: impl FnOnce(&mut Inside)) {
        change(self.state().guests.entry(vmid).or_default());
    }

    pub fn get(&self, vmid: u32) -> Inside {
        self.state().guests.get(&vmid).cloned().unwrap_or_default()
    }

    pub fn without_systemd(&self) {
        self.state().systemd = false;
    }

    /// Lets the `nth` command from now on (0 is the next) go wrong.
    pub fn fail(&self, nth: usize, fault: CommandFault) {
        let mut state = self.state();
        let at = state.commands + nth;
        (state.fault, state.hit) = (Some((at, fault)), None);
    }

    /// The command that went wrong, if its turn has come.
    pub fn hit(&self) -> Option<String> {
        self.state().hit.clone()
    }

    /// The guards that wait.
    pub fn guards(&self) -> Vec<String> {
        self.state().guards.keys().map(|(guard, _)| guard.clone()).collect()
    }

    /// The guards end as on a node that loses its power, and thaw nothing.
    pub fn kill_guards(&self) {
        let mut state = self.state();
        let guards = std::mem::take(&mut state.guards);
        state.killed.extend(guards.into_keys().map(|(name, _)| name));
    }

    /// The guards of dead runs have done their work. (Here they stand still with their run.)
    pub fn fire_guards(&self) {
        let guards = std::mem::take(&mut self.state().guards);
        for ((_, node), vmid) in guards {
            self.set(vmid, |guest| {
                if guest.place.is_none_or(|place| place == node) {
                    guest.frozen = None;
                }
            });
        }
    }

    /// Tells that a command runs, and whether it goes wrong.
    pub(super) fn begin(&self, argv: &[&str]) -> Option<CommandFault> {
        self.events.tell(&format!("run {}", argv.join(" ")));
        self.state().next_fault(argv)
    }

    pub(super) fn answer(&self, node: &str, argv: &[&str]) -> Reply {
        match self.begin(argv) {
            None => self.act(node, argv),
            Some(CommandFault::Fails) => Reply::fails(1, "injected by a test"),
            Some(CommandFault::Hangs) => Reply::Hangs,
            Some(CommandFault::Odd) => Reply::prints("odd\n"),
            Some(CommandFault::Lost) => {
                self.act(node, argv);
                Reply::fails(1, "injected by a test")
            }
            Some(CommandFault::Late) => {
                self.act(node, argv);
                Reply::Hangs
            }
        }
    }

    /// A guard begins; false while another one of its guest lives on that node.
    pub(super) fn guard_begins(&self, name: &str, node: &str, vmid: u32) -> bool {
        let mut state = self.state();
        let taken = state.guards.iter().any(|((_, at), of)| at == node && *of == vmid);
        if !taken {
            state.guards.insert((name.to_owned(), node.to_owned()), vmid);
        }
        !taken
    }

    pub(super) fn guard_ends(&self, name: &str, node: &str) {
        self.state().guards.remove(&(name.to_owned(), node.to_owned()));
    }

    pub(super) fn is_killed(&self, name: &str) -> bool {
        self.state().killed.iter().any(|killed| killed == name)
    }

    fn guard(self: &Arc<Self>, node: &str, argv: &[&str], partner: Partner) {
        let starts = match argv[0] {
            "systemd-run" => self.state().systemd,
            "setsid" => true,
            other => panic!("a guard is not started by {other}"),
        };
        super::guard::start(self, node, argv, partner, starts);
    }

    fn act(&self, node: &str, argv: &[&str]) -> Reply {
        let mut state = self.state();
        match argv {
            ["qm" | "pct", "status", vmid] => state.status(number(vmid)),
            ["qm", "guest", "cmd", vmid, word] => state.agent(node, number(vmid), word),
            ["qm" | "pct", "start", vmid] => state.start(number(vmid)),
            ["qm", "disk", "rescan", "--vmid", _] | ["pct", "rescan", "--vmid", _] => {
                Reply::prints("rescan volumes...\n")
            }
            ["env", "test", "-d", "/run/systemd/system"] if state.systemd => Reply::prints(""),
            ["env", "test", "-d", "/run/systemd/system"] => Reply::fails(1, ""),
            other => panic!("a command that no node knows: {other:?}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_fault(&mut self, argv: &[&str]) -> Option<CommandFault> {
        let now = self.commands;
        self.commands += 1;
        let (_, fault) = self.fault.filter(|(at, _)| *at == now)?;
        self.hit = Some(argv.join(" "));
        Some(fault)
    }

    fn status(&self, vmid: u32) -> Reply {
        let running = self.guests.get(&vmid).is_some_and(|guest| guest.running);
        Reply::prints(if running { "status: running\n" } else { "status: stopped\n" })
    }

    fn start(&mut self, vmid: u32) -> Reply {
        self.guests.entry(vmid).or_default().running = true;
        Reply::prints("")
    }

    fn agent(&mut self, node: &str, vmid: u32, word: &str) -> Reply {
        let guest = self.guests.entry(vmid).or_default();
        if guest.place.is_some_and(|place| place != node) {
            return Reply::fails(255, "QEMU guest agent is not running\n");
        }
        let file_systems = guest.agent.filter(|_| guest.running && !guest.is_busy);
        let Some(file_systems) = file_systems else {
            return Reply::fails(255, "QEMU guest agent is not running\n");
        };
        if let Some(text) = guest.refuses.get(word) {
            return Reply::prints(format!("{{\"error\": {{\"desc\": \"{text}\"}}}}\n"));
        }
        match word {
            "fsfreeze-status" if guest.frozen.is_some() => Reply::prints("frozen\n"),
            "fsfreeze-status" => Reply::prints("thawed\n"),
            "fsfreeze-freeze" => {
                guest.frozen = Some(file_systems);
                Reply::prints(format!("{file_systems}\n"))
            }
            "fsfreeze-thaw" => {
                let thawed = guest.frozen.take().unwrap_or(0);
                Reply::prints(format!("{}\n", guest.thaw_tells.unwrap_or(thawed)))
            }
            other => panic!("an agent does not know {other}"),
        }
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a vmid is a number")
}
