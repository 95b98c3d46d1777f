//! The writes that have passed, in order, and after which of them the client is killed. Does I/O: kills a process.

use axum::http::Method;
use rustix::process::{Pid, Signal, kill_process};

/// A write that the API server has answered with success.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// Counts from one.
    pub number: usize,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whether the client got the answer.
    pub delivered: bool,
}

impl Write {
    /// The path without its query: what was written.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.path.split('?').next().unwrap_or(&self.path)
    }
}

/// After which write to kill.
#[derive(Debug)]
pub(super) enum Chosen {
    Number(usize),
    Kind { method: String, path: String, occurrence: usize },
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) writes: Vec<Write>,
    pub(super) kill: Option<(Chosen, Pid)>,
    pub(super) killed: bool,
}

impl Ledger {
    /// How many writes of this method went to this path; the query does not tell writes apart.
    pub(super) fn occurrences(&self, method: &str, path: &str) -> usize {
        self.writes.iter().filter(|w| w.method == method && w.resource() == path).count()
    }

    /// Writes a successful write down and kills if it is the one, or if `victim` says so. Tells whether anybody may
    /// see its answer; `lost` is an answer that nobody sees anyway.
    pub(super) fn record(&mut self, method: &str, path: &str, lost: bool, victim: Option<Pid>) -> bool {
        let number = self.writes.len() + 1;
        let mut write = Write { number, method: method.to_owned(), path: path.to_owned(), delivered: true };
        let fatal = match &self.kill {
            _ if self.killed => None,
            Some((Chosen::Number(chosen), pid)) if *chosen == number => Some(*pid),
            Some((Chosen::Kind { method, path, occurrence }, pid)) => {
                let this = write.method == *method && write.resource() == path;
                (this && self.occurrences(method, path) + 1 == *occurrence).then_some(*pid)
            }
            _ => victim,
        };
        if let Some(pid) = fatal {
            // It fails only when the process is gone already, which is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
            self.killed = true;
        }
        // After the kill the client is gone; what was still under way is counted but not delivered either.
        let kept = self.killed;
        write.delivered = !kept && !lost;
        self.writes.push(write);
        !kept
    }
}

/// Whether a request changes what the tests compare: no reviews, tokens, leases, events and dry runs.
pub(super) fn counts(method: &Method, path: &str, query: &str) -> bool {
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let review =
        path.starts_with("/apis/authorization.k8s.io/") || path.starts_with("/apis/authentication.k8s.io/");
    let resource = |name: &str| path.split('/').any(|part| part == name);
    let lease = path.starts_with("/apis/coordination.k8s.io/") && resource("leases");
    let event =
        resource("events") && (path.starts_with("/apis/events.k8s.io/") || path.starts_with("/api/v1/"));
    changes && !review && !lease && !event && !path.ends_with("/token") && !query.contains("dryRun=All")
}

#[cfg(test)]
mod tests {
    use super::counts;
    use axum::http::Method;

    #[test]
    fn only_requests_that_change_what_is_compared_count() {
        let counted = [
            (Method::POST, "/api/v1/namespaces", ""),
            (Method::PATCH, "/apis/kubenova.io/v1alpha1/novatenants/events/status", ""),
            (Method::DELETE, "/api/v1/namespaces/leases", ""),
        ];
        for (method, path, query) in counted {
            assert!(counts(&method, path, query), "{method} {path}");
        }
        let ignored = [
            (Method::GET, "/api/v1/namespaces", ""),
            (Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews", ""),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", ""),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", ""),
            (Method::POST, "/api/v1/namespaces/a/events", ""),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", ""),
            (Method::PATCH, "/api/v1/namespaces/a", "dryRun=All&force=true"),
        ];
        for (method, path, query) in ignored {
            assert!(!counts(&method, path, query), "{method} {path}");
        }
    }
}
