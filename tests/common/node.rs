//! The nodes of the cluster as commands see them: guests that run, freeze and thaw, guards that
//! wait. Strict: a command that is not listed here fails the run.

use super::events::Events;
use pve_ferry::transport::{Answer, Script};
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

/// A guest as its node knows it.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    pub running: bool,
    /// The number of file systems, where an agent answers.
    pub agent: Option<u64>,
    pub frozen: Option<u64>,
    /// The number that a thaw tells, where it is not the truth.
    pub thaw_tells: Option<u64>,
    /// The only node whose commands reach its agent; every node's while there is none.
    pub place: Option<&'static str>,
}

#[derive(Default)]
struct State {
    guests: BTreeMap<u32, Inside>,
    systemd: bool,
    /// The guards that wait, by their names and nodes, with their guests.
    guards: BTreeMap<(String, String), u32>,
    started_guards: u32,
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
        script.reply("", move |command| node.answer(&name, &command.argv()));
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

    /// The deadline of all guards comes.
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

    fn answer(&self, node: &str, argv: &[&str]) -> Answer {
        self.events.tell(&format!("run {}", argv.join(" ")));
        let fault = self.state().next_fault(argv);
        match fault {
            None => self.act(node, argv),
            Some(CommandFault::Fails) => Answer::fails(1, "injected by a test"),
            Some(CommandFault::Hangs) => Answer::hangs(),
            Some(CommandFault::Odd) => Answer::prints("odd\n"),
            Some(CommandFault::Lost) => {
                self.act(node, argv);
                Answer::fails(1, "injected by a test")
            }
            Some(CommandFault::Late) => {
                self.act(node, argv);
                Answer::hangs()
            }
        }
    }

    fn act(&self, node: &str, argv: &[&str]) -> Answer {
        let mut state = self.state();
        match argv {
            ["qm" | "pct", "status", vmid] => state.status(number(vmid)),
            ["qm", "guest", "cmd", vmid, word] => state.agent(node, number(vmid), word),
            ["qm" | "pct", "start", vmid] => state.start(number(vmid)),
            ["qm", "disk", "rescan", "--vmid", _] | ["pct", "rescan", "--vmid", _] => {
                Answer::prints("rescan volumes...\n")
            }
            ["test", "-d", "/run/systemd/system"] if state.systemd => Answer::nothing(),
            ["test", "-d", "/run/systemd/system"] => Answer::fails(1, ""),
            ["systemd-run", ..] if !state.systemd => Answer::fails(1, "not booted with systemd\n"),
            ["systemd-run", options @ ..] => {
                let unit = options.iter().find_map(|word| word.strip_prefix("--unit="));
                state.arm((unit.expect("a guard has a name").to_owned(), node.to_owned()), argv);
                Answer::nothing()
            }
            ["systemctl", "stop", unit] => {
                state.disarm(unit.strip_suffix(".timer").expect("a timer is stopped"), node)
            }
            ["setsid", "--fork", "sh", "-c", ..] => {
                let pid = 5000 + state.started_guards;
                state.arm((pid.to_string(), node.to_owned()), argv);
                Answer::prints(format!("{pid}\n"))
            }
            ["kill", "--", group] => {
                state.disarm(group.strip_prefix('-').expect("a group is killed"), node)
            }
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

    fn status(&self, vmid: u32) -> Answer {
        let running = self.guests.get(&vmid).is_some_and(|guest| guest.running);
        Answer::prints(if running { "status: running\n" } else { "status: stopped\n" })
    }

    fn start(&mut self, vmid: u32) -> Answer {
        self.guests.entry(vmid).or_default().running = true;
        Answer::nothing()
    }

    fn agent(&mut self, node: &str, vmid: u32, word: &str) -> Answer {
        let guest = self.guests.entry(vmid).or_default();
        if guest.place.is_some_and(|place| place != node) {
            return Answer::fails(255, "QEMU guest agent is not running\n");
        }
        let Some(file_systems) = guest.agent.filter(|_| guest.running) else {
            return Answer::fails(255, "QEMU guest agent is not running\n");
        };
        match word {
            "ping" => Answer::nothing(),
            "fsfreeze-status" if guest.frozen.is_some() => Answer::prints("frozen\n"),
            "fsfreeze-status" => Answer::prints("thawed\n"),
            "fsfreeze-freeze" => {
                guest.frozen = Some(file_systems);
                Answer::prints(format!("{file_systems}\n"))
            }
            "fsfreeze-thaw" => {
                let thawed = guest.frozen.take().unwrap_or(0);
                Answer::prints(format!("{}\n", guest.thaw_tells.unwrap_or(thawed)))
            }
            other => panic!("an agent does not know {other}"),
        }
    }

    fn arm(&mut self, guard: (String, String), argv: &[&str]) {
        let thaw = argv.windows(5).find(|words| words[..3] == ["qm", "guest", "cmd"]);
        let thaw = thaw.expect("a guard thaws");
        assert_eq!(thaw[4], "fsfreeze-thaw");
        self.started_guards += 1;
        self.guards.insert(guard, number(thaw[3]));
    }

    fn disarm(&mut self, guard: &str, node: &str) -> Answer {
        match self.guards.remove(&(guard.to_owned(), node.to_owned())) {
            Some(_) => Answer::nothing(),
            None => Answer::fails(5, "it is not there\n"),
        }
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a vmid is a number")
}
