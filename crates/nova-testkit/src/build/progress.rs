//! Says what is being built and how far it is: a live line on a terminal, plain lines elsewhere. Writes to stderr.

use std::io::{IsTerminal as _, stderr};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts the steps of one build.
pub struct Progress {
    total: usize,
    begun: std::cell::Cell<usize>,
    since: Instant,
}

impl Progress {
    /// Announces a build of `total` steps.
    pub fn new(total: usize) -> Self {
        let first = if total > 5 { " The first time this takes ten to twenty minutes." } else { "" };
        eprintln!("Building the control plane: {total} to do.{first}");
        Self { total, begun: std::cell::Cell::new(0), since: Instant::now() }
    }

    /// Begins the next step.
    pub fn step(&self, what: &str) -> Step {
        self.begun.set(self.begun.get() + 1);
        let label = format!("[{}/{}] {what}", self.begun.get(), self.total);
        let since = Instant::now();
        let display = if stderr().is_terminal() {
            let bar = ProgressBar::new_spinner().with_message(label.clone());
            if let Ok(style) = ProgressStyle::with_template("{msg} … {elapsed} {spinner}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Display::Live(bar)
        } else {
            eprintln!("{label} …");
            Display::Lines(Some(Heartbeat::start(label.clone(), since)))
        };
        Step { label, since, display }
    }

    /// Says that everything is there and how long it took.
    pub fn finish(&self, root: &Path) {
        eprintln!(
            "The control plane is built: {} s, kept in {}.",
            self.since.elapsed().as_secs(),
            root.display()
        );
    }
}

/// One step under way. Dropping it without [`Step::done`] leaves its line as it is, for the error that follows.
pub struct Step {
    label: String,
    since: Instant,
    display: Display,
}

enum Display {
    Live(ProgressBar),
    Lines(Option<Heartbeat>),
}

impl Step {
    /// Says that the step is done.
    pub fn done(mut self) {
        match &mut self.display {
            Display::Live(bar) => bar.finish_and_clear(),
            Display::Lines(heartbeat) => drop(heartbeat.take()),
        }
        eprintln!("{} … {} s", self.label, self.since.elapsed().as_secs());
    }
}

/// Prints a sign of life every half minute, so that a CI log does not look stuck.
struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    fn start(label: String, since: Instant) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(30)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{label} … {} s", since.elapsed().as_secs());
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
