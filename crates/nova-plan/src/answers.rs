//! What the API server's refusal of a request means to people: who has to act, and how. No I/O.
//!
//! Reasons and causes decide. Where the API server gives neither, its own sentences do, and only where nobody else can
//! put them: other webhooks repeat in their answers what people write.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason, clip};

use crate::adapters::{Backend, backend_of_webhook};
use crate::problem::Problem;

/// What was being done when a request failed.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// Stage of the object.
    pub stage: ConditionType,
    /// The object of the request.
    pub object: &'a str,
}

/// A cause of a refusal, as `details.causes` of a `Status` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// Such as `NamespaceTerminating` or `FieldValueInvalid`; empty for an admission policy's.
    pub reason: String,
    /// The field, if it is about one.
    pub field: String,
    /// In words.
    pub message: String,
}

/// A `Status` that the API server answers with instead of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// `reason`, such as `Forbidden`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// `details.causes`.
    pub causes: Vec<Cause>,
}

/// What a refusal means.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Somebody else was faster: look again, then decide anew.
    Race,
    /// To be told.
    Problem(Problem),
}

/// A request that got no answer, or none that can be understood.
#[must_use]
pub fn no_answer(doing: RequestContext<'_>, why: &str) -> Problem {
    transient(doing, &format!("the API server did not answer: {}", short(why)))
}

fn transient(doing: RequestContext<'_>, message: &str) -> Problem {
    Problem::new(doing.stage, Reason::BackendUnavailable, doing.object, message)
        .code(Code::Kn503)
        .class(BlockerClass::Transient)
        .fix("none needed; it is tried again")
        .backoff()
}

/// The webhook that did not answer.
#[must_use]
pub fn silent_webhook(refusal: &Refusal) -> Option<&str> {
    let rest = refusal.message.strip_prefix("Internal error occurred: failed calling webhook \"")?;
    rest.split_once('"').map(|(name, _)| name).filter(|_| refusal.code == 500)
}

/// The backend whose webhook did not answer.
#[must_use]
pub fn silent_backend(refusal: &Refusal) -> Option<&'static Backend> {
    backend_of_webhook(silent_webhook(refusal)?)
}

/// The webhook that refused a request.
#[must_use]
pub fn refused_by(refusal: &Refusal) -> Option<&str> {
    match admission(refusal)? {
        Admission::Webhook(name) => Some(name),
        Admission::Policy(_) => None,
    }
}

/// Who refused a request by admission.
enum Admission<'a> {
    Policy(&'a str),
    Webhook(&'a str),
}

/// The admission policy or webhook that refused, by the sentence of the API server. Its own words about a resource,
/// `<resource> "<name>" is forbidden: `, may come before.
fn admission(refusal: &Refusal) -> Option<Admission<'_>> {
    let own = refusal.message.split_once(" is forbidden: ").map_or(&*refusal.message, |(_, rest)| rest);
    for message in [&*refusal.message, own] {
        if let Some(rest) = message.strip_prefix("ValidatingAdmissionPolicy '") {
            return rest.split_once('\'').map(|(name, _)| Admission::Policy(name));
        }
        if let Some(rest) = message.strip_prefix("admission webhook \"") {
            return rest.split_once('"').map(|(name, _)| Admission::Webhook(name));
        }
    }
    None
}

fn has_cause(refusal: &Refusal, reason: &str) -> bool {
    refusal.causes.iter().any(|cause| cause.reason == reason)
}

/// The quota that is full, by the sentence of the quota admission.
fn is_quota(refusal: &Refusal) -> bool {
    let own = refusal.message.split_once(" is forbidden: ").map_or(&*refusal.message, |(_, rest)| rest);
    refusal.reason == "Forbidden" && own.starts_with("exceeded quota: ")
}

/// What a refusal means.
#[must_use]
pub fn classify(refusal: &Refusal, doing: RequestContext<'_>) -> Answer {
    let problem = |reason: Reason, code: Code| {
        Problem::new(doing.stage, reason, doing.object, short(&refusal.message)).code(code).backoff()
    };
    if let Some(webhook) = silent_webhook(refusal) {
        let (who, fix) = match backend_of_webhook(webhook) {
            Some(backend) => (backend.title, backend.start.to_owned()),
            None => (webhook, format!("see why the webhook {webhook} does not answer")),
        };
        let message =
            format!("{who} does not answer, and without it this cannot be written: {}", refusal.message);
        let problem = problem(Reason::BackendUnavailable, Code::Kn503).fix(fix);
        return Answer::Problem(Problem { message: short(&message), ..problem });
    }
    if has_cause(refusal, "NamespaceTerminating") {
        let message = "its namespace is being deleted";
        return Answer::Problem(Problem::progress(doing.stage, doing.object, message));
    }
    if let Some(who) = admission(refusal) {
        let fix = match who {
            Admission::Policy(name) => format!(
                "the admission policy {name} refuses it: change the policy, or ask its owner (kubectl describe \
                 validatingadmissionpolicy {name})"
            ),
            Admission::Webhook(name) => {
                format!("the admission webhook {name} refuses it: see why, and who runs it")
            }
        };
        return Answer::Problem(problem(Reason::Forbidden, Code::Kn403).fix(fix));
    }
    if is_quota(refusal) {
        return Answer::Problem(
            problem(Reason::QuotaExceeded, Code::Kn429).fix("raise the quota of the namespace"),
        );
    }
    // etcd's bound on one request: the object is too large with what was to be added to it.
    if refusal.message.contains("etcdserver: request is too large") {
        return Answer::Problem(too_large(doing, refusal));
    }
    Answer::Problem(match refusal.code {
        409 => return Answer::Race,
        404 => problem(Reason::DependencyMissing, Code::Kn404),
        403 => problem(Reason::Forbidden, Code::Kn403).fix(
            "give the operator the roles of charts/kubenova, whose version has to be that of the operator",
        ),
        413 => too_large(doing, refusal),
        429 => problem(Reason::Throttled, Code::Kn429)
            .class(BlockerClass::Transient)
            .fix("none needed; it is tried again"),
        400 | 422 => problem(Reason::Invalid, Code::Kn422).class(BlockerClass::Bug).fix("report it"),
        500.. => problem(Reason::BackendUnavailable, Code::Kn503)
            .class(BlockerClass::Transient)
            .fix("none needed; it is tried again"),
        _ => problem(Reason::InternalError, Code::Kn500).class(BlockerClass::Bug).fix("report it"),
    })
}

fn too_large(doing: RequestContext<'_>, refusal: &Refusal) -> Problem {
    Problem::new(doing.stage, Reason::Invalid, doing.object, short(&refusal.message))
        .code(Code::Kn422)
        .class(BlockerClass::User)
        .fix("make it smaller: divide the app, and take off finalizers, labels and annotations that are not needed")
        .backoff()
}

fn short(message: &str) -> String {
    clip(message, 600)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOING: RequestContext<'static> =
        RequestContext { stage: ConditionType::NamespacesReady, object: "Namespace tn-a" };

    fn refusal(code: u16, reason: &str, message: &str) -> Refusal {
        Refusal { code, reason: reason.into(), message: message.into(), causes: Vec::new() }
    }

    fn told(refusal: &Refusal) -> Problem {
        match classify(refusal, DOING) {
            Answer::Problem(problem) => problem,
            Answer::Race => panic!("a race"),
        }
    }

    #[test]
    fn a_silent_webhook_of_capsule_is_told_as_capsule() {
        let told = told(&refusal(
            500,
            "InternalError",
            "Internal error occurred: failed calling webhook \"namespaces.tenants.projectcapsule.dev\": connection refused",
        ));
        assert_eq!((told.reason, told.code), (Reason::BackendUnavailable, Some(Code::Kn503)));
        assert!(told.message.starts_with("Capsule does not answer") && told.fix.contains("capsule-system"));
    }

    #[test]
    fn what_another_webhook_repeats_is_not_taken_for_a_silent_one() {
        let words = "failed calling webhook \"x.projectcapsule.dev\": connection refused";
        let repeated = format!("admission webhook \"vela\" denied the request: parse trait({words})");
        assert_eq!(told(&refusal(403, "Forbidden", &repeated)).reason, Reason::Forbidden);
        assert_eq!(silent_webhook(&refusal(500, "InternalError", words)), None);
    }

    #[test]
    fn six_refusals_have_six_culprits() {
        let rbac = "namespaces \"tn-a\" is forbidden: User \"u\" cannot patch resource \"namespaces\"";
        let quota = "pods \"x\" is forbidden: exceeded quota: kubenova-quota, requested: pods=1";
        // A name in the words of RBAC does not make it a quota.
        let spoof =
            "configmaps \"x\" is forbidden: User \"exceeded quota: x\" cannot patch resource \"configmaps\"";
        assert!(told(&refusal(403, "Forbidden", rbac)).fix.contains("roles of charts/kubenova"));
        assert_eq!(told(&refusal(403, "Forbidden", quota)).reason, Reason::QuotaExceeded);
        assert_eq!(told(&refusal(403, "Forbidden", spoof)).reason, Reason::Forbidden);
        for (code, reason) in [(422, "Invalid"), (403, "Forbidden")] {
            for before in ["", "namespaces \"tn-a\" is forbidden: "] {
                let policy =
                    format!("{before}ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no");
                let told = told(&refusal(code, reason, &policy));
                assert_eq!((told.reason, told.class), (Reason::Forbidden, BlockerClass::Platform));
                assert!(told.fix.contains("policy p"), "{}", told.fix);
            }
        }
        let webhook =
            told(&refusal(403, "Forbidden", "admission webhook \"w.example\" denied the request: no"));
        assert!(webhook.fix.contains("webhook w.example"));
        assert_eq!(told(&refusal(422, "Invalid", "is invalid")).class, BlockerClass::Bug);
        assert_eq!(classify(&refusal(409, "Conflict", "modified"), DOING), Answer::Race);
    }

    #[test]
    fn a_namespace_on_its_way_out_is_known_by_its_cause_not_by_words() {
        let mut dying = refusal(403, "Forbidden", "unable to create new content in namespace tn-a");
        assert_eq!(told(&dying).reason, Reason::Forbidden);
        dying.causes.push(Cause { reason: "NamespaceTerminating".into(), ..Cause::default() });
        assert!(told(&dying).is_progress());
    }

    #[test]
    fn too_large_is_for_the_author_and_never_transient() {
        let told = told(&refusal(500, "InternalError", "etcdserver: request is too large"));
        assert_eq!((told.reason, told.class), (Reason::Invalid, BlockerClass::User));
        assert!(told.fix.contains("finalizers"));
    }
}
