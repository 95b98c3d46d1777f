//! Deletions that wait, told: what holds them up, and what to do about it. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use serde_json::Value;

use crate::child::{ChildRef, Live};
use crate::problem::Problem;

/// Stage that a deletion is told under.
pub const DELETING: ConditionType = ConditionType::DeletionBlocked;

/// A deletion that waits for others for longer counts as blocked.
const PATIENCE_SECONDS: i64 = 60;

/// How many objects a status names.
const NAMED: usize = 5;

/// An object on its way out: what it waits for in its own words, and where to look should it stay.
#[must_use]
pub fn leaving(stage: ConditionType, at: &ChildRef, live: &Live) -> Problem {
    let mut message = "it is being deleted".to_owned();
    let list = |pointer| live.body.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let finalizers: Vec<&str> = list("/metadata/finalizers").filter_map(Value::as_str).collect();
    if !finalizers.is_empty() {
        message = format!("{message} and waits for {}", named(&finalizers));
    }
    let holds =
        |c: &&Value| c["status"] == "True" && c["type"].as_str().is_some_and(|t| t.starts_with("Namespace"));
    for remains in list("/status/conditions").filter(holds).filter_map(|c| c["message"].as_str()) {
        message = format!("{message}; {remains}");
    }
    let problem = Problem { reason: Reason::Deleting, ..Problem::progress(stage, at, message) };
    match (at.kind.stuck)(at) {
        Some(look) => problem.fix(format!("if it stays, {look}")),
        None => problem,
    }
}

/// A deletion that waits for an object on its way out, and that counts as blocked by it after a while.
#[must_use]
pub fn waiting(at: &ChildRef, live: &Live, now: Timestamp) -> Problem {
    let since = live.text("/metadata/deletionTimestamp");
    overdue(leaving(DELETING, at, live), since.and_then(|t| t.parse().ok()), now)
}

fn overdue(problem: Problem, since: Option<Timestamp>, now: Timestamp) -> Problem {
    if since.is_none_or(|since| now.as_second() - since.as_second() <= PATIENCE_SECONDS) {
        return problem;
    }
    Problem { reason: Reason::DeletionBlocked, ..problem }
        .code(Code::Kn409)
        .class(BlockerClass::Platform)
        .backoff()
}

/// A deletion that somebody has to make way for.
#[must_use]
pub fn blocked(object: impl ToString, message: String, fix: String) -> Problem {
    Problem::new(DELETING, Reason::DeletionBlocked, object, message)
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(fix)
}

/// What is to be deleted as part of a deletion, as far as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Kind, as in a manifest.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Being deleted since.
    pub since: Option<Timestamp>,
    /// Finalizers that are not its own controller's.
    pub held_by: Vec<String>,
    /// What its own Ready says, where that is False.
    pub says: Option<String>,
}

impl Going {
    fn title(&self) -> String {
        crate::tenancy::title_of(self.kind, Some(&self.namespace), &self.name)
    }
}

/// A cascade that still has objects to delete; none when it has none.
#[must_use]
pub fn cascade(going: &[Going], now: Timestamp) -> Option<Problem> {
    let first = going.first()?;
    let names: Vec<&str> = going.iter().map(|g| g.name.as_str()).collect();
    let left = format!("{} to delete first: {}", going.len(), named(&names));
    let Some(oldest) = going.iter().filter(|g| g.since.is_some()).min_by_key(|g| g.since) else {
        let problem = Problem::progress(DELETING, first.title(), left);
        return Some(Problem { reason: Reason::Deleting, ..problem });
    };
    // What it waits for is in its own status, unless somebody else holds it.
    let words = match &oldest.says {
        _ if !oldest.held_by.is_empty() => {
            let held_by: Vec<&str> = oldest.held_by.iter().map(String::as_str).collect();
            format!("; it waits for {}", named(&held_by))
        }
        Some(says) => format!("; it says: {says}"),
        None => String::new(),
    };
    let fix = format!(
        "if it stays, see what it waits for: kubectl -n {} describe {} {}",
        oldest.namespace,
        oldest.kind.to_lowercase(),
        oldest.name
    );
    let problem = Problem::progress(DELETING, oldest.title(), left + &words).fix(fix);
    Some(overdue(Problem { reason: Reason::Deleting, ..problem }, oldest.since, now))
}

/// An Application that nobody of KubeNova's asked for stands in the way of a namespace.
#[must_use]
pub fn foreign_application(at: &ChildRef, others: &[&str]) -> Problem {
    blocked(
        at,
        format!("it was not made by KubeNova and is still there; {} in all: {}", others.len(), named(others)),
        format!("kubectl -n {} delete application {}", at.namespace, at.name),
    )
}

/// A project or tenant with `deletionPolicy: Block` that is not empty; none where it is.
#[must_use]
pub fn not_empty(me: &str, what: &str, first: Option<&str>, names: &[(&str, Vec<&str>)]) -> Option<Problem> {
    let inside: Vec<String> =
        names.iter().map(|(noun, names)| format!("{noun} [{}]", named(names))).collect();
    let message = format!("the {what} still has {}, and its deletionPolicy is Block", inside.join(" and "));
    let fix = format!("delete them, or set spec.deletionPolicy of {me} to Cascade");
    Some(blocked(first?, message, fix))
}

/// Block keeps namespaces whose project or sandbox is gone already.
#[must_use]
pub fn kept_namespace(namespace: &str, tenant: &str) -> Problem {
    let message =
        "it is in the tenant without a project or sandbox, and the tenant's deletionPolicy is Block";
    let fix = format!("delete it, or set spec.deletionPolicy of NovaTenant {tenant} to Cascade");
    blocked(format!("Namespace {namespace}"), message.to_owned(), fix)
}

/// The definition of a kind is on its way out: that is no wish to delete what each object stands for.
#[must_use]
pub fn kept_for_definition(crd: &str, finalizer: &str) -> Problem {
    let message = "it is being deleted, and nothing is taken down for that";
    let fix = format!(
        "to give up what the object stands for without taking it down, remove the finalizer {finalizer}; to take it \
         down, restore the definition from a backup and delete the object"
    );
    blocked(format!("CustomResourceDefinition {crd}"), message.to_owned(), fix).backoff()
}

/// What KubeNova had to do for a deletion is done, and others hold the object.
#[must_use]
pub fn held_by_others(object: &str, finalizers: &[&str]) -> Problem {
    let message = format!("it waits for {}", named(finalizers));
    let fix = "see who put these finalizers there, and why that does not take them off";
    Problem { reason: Reason::Deleting, ..Problem::progress(DELETING, object, message) }.fix(fix)
}

/// The first few names, and how many more there are.
#[must_use]
pub fn named(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::NAMESPACE;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_deletion_that_waits_for_more_than_a_minute_is_blocked_and_says_where_to_look() {
        let namespace = ChildRef::cluster(&NAMESPACE, "tn-a");
        let live = Live::new(
            json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:10Z"}, "status": {"conditions": [
            {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances"}]}}),
        );
        let soon = waiting(&namespace, &live, at(70));
        assert!(soon.is_progress() && soon.message.contains("pods. has 1"), "{soon:?}");
        let late = waiting(&namespace, &live, at(71));
        assert_eq!((late.reason, late.class), (Reason::DeletionBlocked, BlockerClass::Platform));
        assert!(late.fix.contains("kubectl describe namespace tn-a"));
    }

    #[test]
    fn a_cascade_tells_the_oldest_deletion_and_who_holds_it() {
        let going = |name: &str, since: Option<i64>, held_by: &[&str]| Going {
            kind: "NovaApp",
            namespace: "n".into(),
            name: name.into(),
            since: since.map(at),
            held_by: held_by.iter().map(|f| (*f).to_owned()).collect(),
            says: Some("not yet".into()),
        };
        assert_eq!(cascade(&[], at(0)), None);
        let fresh = cascade(&[going("a", None, &[])], at(0)).unwrap();
        assert_eq!((fresh.object.as_str(), fresh.message.as_str()), ("NovaApp n/a", "1 to delete first: a"));
        let two = [going("a", Some(9), &[]), going("b", Some(5), &["example.com/x"])];
        let told = cascade(&two, at(10)).unwrap();
        assert_eq!(told.object, "NovaApp n/b");
        assert!(told.message.ends_with("; it waits for example.com/x"), "{}", told.message);
        assert_eq!(cascade(&two, at(100)).unwrap().reason, Reason::DeletionBlocked);
    }

    #[test]
    fn a_long_list_of_names_is_counted() {
        assert_eq!(named(&["a", "b"]), "a, b");
        assert_eq!(named(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
