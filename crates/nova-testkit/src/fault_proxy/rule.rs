//! Rules: which requests are met, and what becomes of them. No I/O.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::http::Method;
use tokio::sync::watch;

use super::refusal::Refusal;
use super::request::{Asked, Verb};

/// Which requests are met: verbs and a resource, then narrowed step by step.
///
/// ```
/// use nova_testkit::fault_proxy::{Rule, Verb};
/// // The second apply of any app's Application in the projects of one tenant.
/// let rule = Rule::on([Verb::Patch], "applications.core.oam.dev").in_namespace("tn-acme-app-*").nth(2);
/// // Every status of one tenant.
/// let rule = Rule::on([Verb::Patch], "novatenants.kubenova.io/status").named("acme");
/// // Whatever is written in the namespaces of a tenant.
/// let rule = Rule::on(Verb::WRITES, "*").in_namespace("tn-acme*");
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    verbs: Vec<Verb>,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    first: usize,
    last: usize,
}

impl Rule {
    /// Requests with one of these verbs for `plural[.group][/subresource]`, where `*` stands for any text.
    ///
    /// Without a slash the object itself is meant, not its subresources; the resource `*` alone is everything.
    /// A list is also a watch that begins with what is there.
    #[must_use]
    pub fn on(verbs: impl IntoIterator<Item = Verb>, what: &str) -> Self {
        let everything = if what == "*" { "*" } else { "" };
        let (resource, subresource) = what.split_once('/').unwrap_or((what, everything));
        Self {
            verbs: verbs.into_iter().collect(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: "*".to_owned(),
            name: "*".to_owned(),
            first: 1,
            last: usize::MAX,
        }
    }

    /// Exactly the requests that an HTTP method and a path stand for, such as those of a [`super::Write`].
    ///
    /// # Errors
    /// When they stand for no request for a resource.
    pub fn of(method: &str, path: &str) -> Result<Self> {
        let method = Method::from_bytes(method.as_bytes()).with_context(|| format!("method {method:?}"))?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let asked = Asked::read(&method, path, query);
        let verb = asked.verb.with_context(|| format!("{method} {path} is no request for a resource"))?;
        let rule = Self::on([verb], &format!("{}/{}", asked.kind(), asked.subresource));
        Ok(rule.in_namespace(&asked.namespace).named(&asked.name))
    }

    /// Only in namespaces of this name, in which `*` stands for any text. A namespace is in itself.
    #[must_use]
    pub fn in_namespace(mut self, pattern: &str) -> Self {
        pattern.clone_into(&mut self.namespace);
        self
    }

    /// Only objects of this name, in which `*` stands for any text.
    #[must_use]
    pub fn named(mut self, pattern: &str) -> Self {
        pattern.clone_into(&mut self.name);
        self
    }

    /// Only the `n`-th of these requests, from one, counted from when the rule was added.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        (self.first, self.last) = (n, n);
        self
    }

    /// Only the first `n` of these requests, counted from when the rule was added.
    #[must_use]
    pub fn times(mut self, n: usize) -> Self {
        self.last = self.first.saturating_add(n).saturating_sub(1);
        self
    }

    fn meets(&self, asked: &Asked) -> bool {
        let verb = asked.verb.is_some_and(|verb| {
            self.verbs.contains(&verb) || asked.lists_too && self.verbs.contains(&Verb::List)
        });
        let kind = self.resource == "*" || fits(&self.resource, &asked.kind());
        verb && kind
            && fits(&self.subresource, &asked.subresource)
            && fits(&self.namespace, &asked.namespace)
            && fits(&self.name, &asked.name)
    }
}

/// `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let middle: Vec<&str> = parts.collect();
    let Some((tail, middle)) = middle.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(tail)
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: it passes, and is counted. The next rule has its say.
    Pass,
    /// It is passed on after this time, whether or not the client still waits, as by a slow webhook.
    Delay(Duration),
    /// The connection is closed; nothing has reached the API server.
    Drop,
    /// The API server does it, and the connection is closed before its answer.
    LoseAnswer,
    /// The API server never hears of it; this is the answer.
    Answer(Refusal),
    /// No answer, not even its head, until the rule is lifted; then it is passed on, if the client still waits.
    Hang,
    /// The head of the answer comes, of a list the half of its body too, and then nothing until the rule is lifted.
    Stall,
    /// The connection is closed so long after the head of the answer.
    CutAfter(Duration),
    /// A watch begins and brings this error as its only event, as the API server tells that a version is too old.
    ErrorEvent(Refusal),
    /// A list is answered with an older one of the same request, of those that were passed: the oldest is zero.
    OldList(usize),
    /// The API server does it, then this process is killed, and nobody sees the answer or any later one.
    Kill(u32),
}

/// A rule at work, to count and to lift. Letting it go does not lift it.
#[derive(Clone, Debug)]
pub struct Injected {
    pub(super) rule: Arc<Armed>,
}

impl Injected {
    /// How many requests have met the rule, faulted or not.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.rule.seen().len()
    }

    /// When each request came that met the rule.
    #[must_use]
    pub fn times(&self) -> Vec<Instant> {
        self.rule.seen().clone()
    }

    /// How many requests were faulted.
    #[must_use]
    pub fn hits(&self) -> usize {
        let Rule { first, last, .. } = self.rule.rule;
        self.seen().min(last).saturating_sub(first - 1)
    }

    /// The most requests that met the rule within any time so long.
    #[must_use]
    pub fn busiest(&self, within: Duration) -> usize {
        let times = self.times();
        let from = |start: &Instant| times.iter().filter(|at| *at >= start && **at < *start + within).count();
        times.iter().map(from).max().unwrap_or(0)
    }

    /// Ends the rule; what hangs goes on.
    pub fn lift(&self) {
        self.rule.lifted.send_replace(true);
    }
}

#[derive(Debug)]
pub(super) struct Armed {
    rule: Rule,
    pub(super) fault: Fault,
    seen: Mutex<Vec<Instant>>,
    lifted: watch::Sender<bool>,
}

impl Armed {
    fn seen(&self) -> MutexGuard<'_, Vec<Instant>> {
        // A push is a single step, so a panic elsewhere leaves the list whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the rule has been lifted.
    pub(super) fn lifted(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lifted = self.lifted.subscribe();
        async move {
            // The sender goes with the last who knows the rule, and then it is over too.
            let _ = lifted.wait_for(|lifted| *lifted).await;
        }
    }
}

/// All rules of a proxy, in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Arc<Armed>>>);

impl Rules {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Armed>>> {
        // Every change of the list is a single step, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, rule: Rule, fault: Fault) -> Injected {
        let rule = Arc::new(Armed { rule, fault, seen: Mutex::default(), lifted: watch::Sender::new(false) });
        self.lock().push(rule.clone());
        Injected { rule }
    }

    pub(super) fn clear(&self) {
        for rule in self.lock().drain(..) {
            rule.lifted.send_replace(true);
        }
    }

    /// Counts a request where it is met, and gives the first rule that has something in store for it.
    pub(super) fn meet(&self, asked: &Asked) -> Option<Arc<Armed>> {
        let mut rules = self.lock();
        rules.retain(|armed| !*armed.lifted.borrow());
        let mut first = None;
        for armed in rules.iter().filter(|armed| armed.rule.meets(asked)) {
            let mut seen = armed.seen();
            seen.push(Instant::now());
            let due = (armed.rule.first..=armed.rule.last).contains(&seen.len());
            if due && first.is_none() && !matches!(armed.fault, Fault::Pass) {
                first = Some(armed.clone());
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, uri: &str) -> Asked {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        Asked::read(method, path, query)
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [("*", ""), ("*", "a"), ("tn-*-app-*", "tn-a-app-b"), ("a", "a"), ("*b", "ab")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("a", "ab"), ("tn-*-app-*", "tn-a"), ("a*b*c", "acb"), ("*a", "ab")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_meets_what_it_names_and_nothing_else() {
        let status = "/apis/kubenova.io/v1alpha1/namespaces/tn-a/novaprojects/shop/status";
        let whole = status.trim_end_matches("/status");
        let meets = |rule: &Rule, uri: &str| rule.meets(&asked(&Method::PATCH, uri));
        let on = |what: &str| Rule::on([Verb::Patch], what);
        assert!(meets(&on("novaprojects.kubenova.io"), whole));
        assert!(!meets(&on("novaprojects.kubenova.io"), status), "a subresource is another thing");
        assert!(meets(&on("novaprojects.kubenova.io/status"), status));
        assert!(meets(&on("novaprojects.kubenova.io/*"), status));
        assert!(meets(&on("*"), status) && meets(&on("*"), whole));
        assert!(!meets(&on("novaprojects"), whole), "a group is part of the kind");
        assert!(meets(&on("*.kubenova.io").in_namespace("tn-*").named("s*p"), whole));
        assert!(!meets(&on("*").named("shops"), whole));
        assert!(!meets(&on("*").in_namespace("tn-ab"), whole));
        assert!(!meets(&Rule::on([Verb::Delete], "*"), whole));
        let exact = Rule::of("PATCH", whole).unwrap();
        assert!(meets(&exact, whole) && !meets(&exact, status));
        assert!(meets(&Rule::of("PATCH", status).unwrap(), status));
        assert!(Rule::of("PATCH", "/version").is_err());
        let streamed = asked(&Method::GET, "/api/v1/pods?watch=1&sendInitialEvents=true");
        assert!(
            Rule::on([Verb::List], "pods").meets(&streamed)
                && Rule::on([Verb::Watch], "pods").meets(&streamed)
        );
    }

    #[test]
    fn the_nth_is_counted_from_when_the_rule_was_added() {
        let rules = Rules::default();
        let pods = asked(&Method::GET, "/api/v1/pods");
        let counted = rules.add(Rule::on([Verb::List], "pods"), Fault::Pass);
        let second = rules.add(Rule::on([Verb::List], "pods").nth(2), Fault::Drop);
        let early = rules.add(Rule::on([Verb::List], "pods").times(3), Fault::LoseAnswer);
        let met: Vec<_> = (0..4).map(|_| rules.meet(&pods).map(|met| met.fault.clone())).collect();
        let lost = |n: usize| matches!(met[n], Some(Fault::LoseAnswer));
        assert!(lost(0) && matches!(met[1], Some(Fault::Drop)) && lost(2) && met[3].is_none(), "{met:?}");
        assert_eq!((counted.seen(), counted.hits()), (4, 4));
        assert_eq!((second.seen(), second.hits()), (4, 1));
        assert_eq!((early.seen(), early.hits()), (4, 3));
        assert_eq!(counted.busiest(Duration::from_mins(1)), 4);
        early.lift();
        rules.meet(&pods);
        assert_eq!((counted.seen(), early.seen()), (5, 4));
        rules.clear();
        rules.meet(&pods);
        assert_eq!(counted.seen(), 5);
    }
}
