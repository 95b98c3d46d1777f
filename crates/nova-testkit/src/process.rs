//! Child processes that cannot outlive their owner, not even one that was killed. Does I/O: runs processes.
//!
//! A [`Reaper`] is a small shell that reads process ids from a pipe whose write end only the owner holds. Every
//! component writes its own id there before it becomes the program, so there is no moment at which one runs
//! unknown to the reaper. When the owner ends, in whatever way, the kernel closes the pipe; the reaper sees its
//! end, kills what it knows of, and removes the state folder.

use std::fs::{self, File, OpenOptions};
use std::io::{PipeWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::watch;

const REAPER: &str = r#"
trap '' INT TERM HUP QUIT
pids=" "
while read -r line; do
    case "$line" in
        +*) pids="$pids${line#+} " ;;
        -*) left=" "
            for pid in $pids; do [ "$pid" = "${line#-}" ] || left="$left$pid "; done
            pids=$left ;;
    esac
done
for pid in $pids; do kill -KILL "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null; done
[ -z "$1" ] || for try in 1 2 3 4 5; do
    rm -rf -- "$1" 2>/dev/null && break
    sleep 0.2
done
"#;

/// The program's id goes to the pipe on standard input; the program itself gets no part of that pipe.
const LAUNCH: &str = r#"echo "+$$" >&0; exec "$@" </dev/null"#;

/// Kills its processes when the owner ends.
pub struct Reaper {
    pipe: Mutex<Option<PipeWriter>>,
    shell: Mutex<Child>,
}

impl Reaper {
    /// Starts a reaper that also removes `folder` at the end, if one is given.
    pub fn start(folder: Option<&Path>) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let shell = Command::new("/bin/sh")
            .args(["-c", REAPER, "kubenova-reaper"])
            .arg(folder.unwrap_or(Path::new("")))
            .current_dir("/")
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C must reach the owner alone, whose end then reaches the reaper.
            .process_group(0)
            .spawn()
            .context("run /bin/sh")?;
        Ok(Self { pipe: Mutex::new(Some(writer)), shell: Mutex::new(shell) })
    }

    /// Starts a process under this reaper. Its output is appended to `log`.
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        log: &Path,
    ) -> Result<Process> {
        let guard = self.pipe.lock().map_err(|_| anyhow!("the reaper's lock is poisoned"))?;
        let pipe = guard.as_ref().context("this control plane has been stopped")?;
        let mut output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {log:?}"))?;
        writeln!(output, "# {} {}", program.display(), args.join(" "))
            .with_context(|| format!("write {log:?}"))?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", LAUNCH, "sh"])
            .arg(program)
            .args(args)
            // A proxy of the user's environment must not stand between the parts of a control plane.
            .env_remove("HTTP_PROXY")
            .env_remove("HTTPS_PROXY")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .env_remove("KUBECONFIG")
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(pipe.try_clone().context("share a pipe")?)
            .stdout(output.try_clone().context("share a log file")?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("run {program:?}"))?;
        let pid = child.id();
        let (sender, ended) = watch::channel(None);
        // A thread and not a task: it must outlive the runtime of the test that happened to start the process.
        std::thread::Builder::new()
            .name(format!("wait-{name}"))
            .spawn(move || {
                let status = child.wait();
                sender.send_replace(Some(status.map_err(|error| error.to_string())));
            })
            .context("start a thread")?;
        Ok(Process {
            name: name.to_owned(),
            pid,
            log: log.to_path_buf(),
            expected: AtomicBool::new(false),
            ended,
        })
    }

    /// Tells the reaper that a process is gone, so that its id, which the system may give to another, is forgotten.
    pub fn forget(&self, process: &Process) {
        if let Ok(mut pipe) = self.pipe.lock()
            && let Some(pipe) = pipe.as_mut()
        {
            // A reaper that is gone has nothing to forget.
            drop(writeln!(pipe, "-{}", process.pid));
        }
    }

    /// Closes the pipe and waits until the reaper has killed what it knows of and has removed its folder.
    pub fn finish(&self) {
        if let Ok(mut pipe) = self.pipe.lock() {
            drop(pipe.take());
        }
        if let Ok(mut shell) = self.shell.lock() {
            drop(shell.wait());
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What a process has used since its start.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Resident memory now, in bytes.
    pub memory: u64,
    /// The most resident memory it ever had, in bytes.
    pub peak_memory: u64,
}

/// One process, running or ended.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    expected: AtomicBool,
    ended: watch::Receiver<Option<Result<ExitStatus, String>>>,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// An error with the end of the log if it has ended without being told to.
    pub fn check(&self) -> Result<()> {
        if self.expected.load(Ordering::SeqCst) {
            return Ok(());
        }
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(outcome) => Err(self.obituary(outcome)),
        }
    }

    /// Waits until it ends, for an error that shows the end of its log. Waits for ever if it was told to end.
    pub async fn died(&self) -> anyhow::Error {
        let mut ended = self.ended.clone();
        loop {
            // The sender is dropped only after it has sent, so an error here means the same as a value.
            drop(ended.wait_for(Option::is_some).await);
            match self.check() {
                Err(error) => return error,
                Ok(()) => std::future::pending::<()>().await,
            }
        }
    }

    /// Asks it to end, and kills it when it has not within `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.expected.store(true, Ordering::SeqCst);
        self.signal(Signal::TERM);
        let mut ended = self.ended.clone();
        if tokio::time::timeout(grace, ended.wait_for(Option::is_some)).await.is_err() {
            self.kill();
            drop(ended.wait_for(Option::is_some).await);
        }
    }

    /// Kills it and everything it started.
    pub fn kill(&self) {
        self.expected.store(true, Ordering::SeqCst);
        self.signal(Signal::KILL);
    }

    /// What it has used so far, where `/proc` tells.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The program's name, in brackets, may hold anything; user and system time are the 12th and 13th after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let cpu = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
        Some(Usage { cpu, memory: bytes("VmRSS:")?, peak_memory: bytes("VmHWM:")? })
    }

    fn signal(&self, signal: Signal) {
        // After its end the id may belong to somebody else.
        if self.is_running()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // Both fail only when the process has just ended.
            let _ = kill_process_group(pid, signal).or_else(|_| kill_process(pid, signal));
        }
    }

    fn obituary(&self, outcome: &Result<ExitStatus, String>) -> anyhow::Error {
        let how = match outcome {
            Ok(status) => status.to_string(),
            Err(error) => error.clone(),
        };
        anyhow!("{} ended: {how}. The end of {}:\n{}", self.name, self.log.display(), tail(&self.log, 20))
    }
}

/// Asks a process to end.
///
/// # Errors
/// When there is no such process, or it belongs to somebody else.
pub fn terminate(pid: u32) -> Result<()> {
    signal(pid, Signal::TERM)
}

/// Kills a process.
///
/// # Errors
/// When there is no such process, or it belongs to somebody else.
pub fn kill(pid: u32) -> Result<()> {
    signal(pid, Signal::KILL)
}

/// Sends what Ctrl-C sends.
///
/// # Errors
/// When there is no such process, or it belongs to somebody else.
pub fn interrupt(pid: u32) -> Result<()> {
    signal(pid, Signal::INT)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(id, signal).with_context(|| format!("signal process {pid}"))
}

/// The last `lines` lines of a file, as much as can be read.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    const ENOUGH: u64 = 64 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = fs::metadata(path)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("({error})"));
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
